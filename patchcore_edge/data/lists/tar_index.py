"""What is in a tar archive and where: read once from its headers, so that members are read by place afterwards.

Archives come from anywhere: a damaged header costs what lies up to the next whole one, and no member is ever written
to a disk, whatever its name says.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from patchcore_edge_runtime.errors import DataError

__all__ = ["Member", "TarIndex", "index_tar", "is_safe"]

_BLOCK = tarfile.BLOCKSIZE
_LARGEST_HEADER = 1 << 20
"""Bytes that one read for a header may ask for: names and PAX records are shorter, and what claims more is none."""
_SMALL = 1 << 20
"""Bytes of a member that is read on the way: a label."""
_MAGIC, _MAGIC_PLACE = b"ustar", 257
_SEARCHED = 1 << 20
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_FAULTS = (tarfile.TarError, OSError, ValueError, OverflowError, MemoryError, LookupError, RecursionError)
"""What tarfile raises for headers that are none."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: its name with forward slashes, and where its bytes are."""

    name: str
    start: int
    length: int


@dataclass
class TarIndex:
    """What an archive holds.

    Attributes:
        members: plain files, in their order.
        unsafe: names that lead out of the archive, or are none.
        special: names of links, devices and sparse files, which hold no pixels of their own.
        lost: a place in bytes for each stretch that cannot be read, or where the archive breaks off.
        contents: bytes of the members that were wanted, by their names; none of those that are long.
    """

    members: list[Member] = field(default_factory=list)
    unsafe: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)


def _compression(head: bytes) -> str:
    """By what an archive is compressed, by its first bytes; empty where it is not."""
    return next((name for magic, name in _COMPRESSED.items() if head.startswith(magic)), "")


def index_tar(file: BinaryIO, name: object, wanted: Callable[[str], bool]) -> TarIndex:
    """Read an archive's headers.

    Args:
        file: that can be sought in.
        name: of it, for errors.
        wanted: whether a member of a name is to be read on the way, where it is small.

    Raises:
        DataError: it is compressed, so that nothing in it has a place.
        OSError: it cannot be read.
    """
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    if how := _compression(file.read(8)):
        raise DataError(
            f"{name} is compressed with {how}, and nothing in it can be read by its place; unpack it to a plain .tar "
            "(pictures are compressed already)."
        )
    found, place, guarded = TarIndex(), 0, _Guarded(file)
    while place < end or not end:
        place = min(_read_run(guarded, place, found, wanted), end)
        # Archives that were written one behind the other have end marks between them.
        if not _is_end_mark(file, place):
            found.lost.append(place)
        if place >= end:
            break
        place = _next_header(file, place, end)
    return found


class _Guarded:
    """A file of which no single read may take much memory, whatever a header says."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LARGEST_HEADER:
            raise tarfile.ReadError("a header that claims to be longer than headers are")
        return self._file.read(size)


def _read_run(file: _Guarded, place: int, found: TarIndex, wanted: Callable[[str], bool]) -> int:
    """Take members from a whole header on; where reading them ends: at an end mark, the archive's end or damage."""
    try:
        file.seek(place)
        # Typeshed leaves out what it keeps of its state.
        archive: Any = tarfile.TarFile(fileobj=cast("Any", file), mode="r", encoding="utf-8", errors="surrogateescape")
        while (info := archive.next()) is not None:
            # It would keep them all.
            archive.members.clear()
            if archive.offset <= place:
                break
            place = archive.offset
            _take(info, found)
            if info.isreg() and is_safe(info.name) and wanted(info.name):
                file.seek(info.offset_data)
                # What is longer says nothing that can be read.
                found.contents[str(PurePosixPath(info.name))] = file.read(info.size) if info.size <= _SMALL else b""
    except _FAULTS:
        pass
    return place


def _take(info: tarfile.TarInfo, found: TarIndex) -> None:
    if info.isdir():
        return
    name = PurePosixPath(info.name)
    if not is_safe(info.name):
        found.unsafe.append(info.name)
    elif not info.isreg() or info.issparse() or info.size < 0:
        found.special.append(info.name)
    else:
        found.members.append(Member(str(name), info.offset_data, info.size))


def is_safe(name: str) -> bool:
    """Whether a name stays below the archive that it is of, on every system."""
    parts = name.replace("\\", "/").split("/")
    return bool(parts[0]) and ".." not in parts and ":" not in parts[0] and "\0" not in name


def _is_end_mark(file: BinaryIO, place: int) -> bool:
    file.seek(place)
    return file.read(_BLOCK) == bytes(_BLOCK)


def _next_header(file: BinaryIO, place: int, end: int) -> int:
    """The first whole header after a place; the end where there is none."""
    place += _BLOCK
    while place < end:
        file.seek(place)
        data = file.read(_SEARCHED)
        for start in range(0, len(data) - _BLOCK + 1, _BLOCK):
            block = data[start : start + _BLOCK]
            if block.startswith(_MAGIC, _MAGIC_PLACE) and _is_header(block):
                return place + start
        place += _SEARCHED
    return end


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True
