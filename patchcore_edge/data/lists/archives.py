"""Which archives are meant by ``shards/``, ``a.tar``, ``a-*.tar``, ``a-{000..099}.tar``, here or behind a URL."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.listing import list_images
from patchcore_edge_runtime.images.size_limit import bytes_fault

from .remote import RemoteRange, ask, data_path, url_of
from .stored_path import Store

__all__ = ["Archive", "find_archives", "is_shards", "is_there"]

_ENDING = ".tar"
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST = 100_000
"""Shards; what names more is a slip of the pen."""
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class LocalRange:
    """Some bytes of a file."""

    file: Path
    start: int
    length: int

    def size(self) -> int:
        """Bytes."""
        return self.length

    def read(self) -> bytes:
        """All of them; raises ``OSError``, also where they are more than memory allows."""
        if fault := bytes_fault(self.length, "read it"):
            raise OSError(None, f"it {fault}")
        with self.file.open("rb") as opened:
            opened.seek(self.start)
            # A file may be shorter than its headers say: no memory is asked for what is not there.
            there = self.file.stat().st_size - self.start
            data = opened.read(self.length) if there >= self.length else b""
        if len(data) != self.length:
            raise OSError(None, "its archive breaks off within it")
        return data


@dataclass(frozen=True)
class Archive:
    """One shard, by its path and where there is one its URL."""

    path: Path
    url: str | None

    def opened(self, work: Callable[[BinaryIO], _Answer]) -> _Answer:
        """Do something with the open archive; raises ``OSError``."""
        if self.url is None:
            with self.path.open("rb") as file:
                return work(file)

        def remotely(system: Any, place: str) -> _Answer:
            with system.open(place, "rb") as file:
                return work(file)

        return ask(self.url, remotely)

    def part(self, start: int, length: int) -> Store:
        """Some bytes of it."""
        if self.url is None:
            return LocalRange(self.path, start, length)
        return RemoteRange(self.url, start, length)


def is_shards(path: Path) -> bool:
    """Whether a path or URL names shards: of a folder that has no images, and archives in it."""
    if path.suffix.lower() == _ENDING or url_of(path) is not None or _is_compressed(path):
        return True
    if not path.is_dir() or not (_below(path)):
        return False
    return not list_images(path, count=False).files


def _is_compressed(path: Path) -> bool:
    """Whether a file is called like a compressed archive, which is refused in a sentence of its own."""
    return re.search(r"\.(tgz|tbz2?|txz|tar\.\w+)$", path.name.lower()) is not None and path.is_file()


def is_there(path: Path) -> bool:
    """Whether data that were named once are still there: a folder, a file, or shards; of a URL nothing is asked."""
    if url_of(path) is not None:
        return False
    return path.exists() or (path.suffix.lower() == _ENDING and bool(_local(path)))


def find_archives(path: Path) -> list[Archive]:
    """The archives that are meant, by their names.

    Raises:
        DataError: there are none.
    """
    url = url_of(path)
    if url is None:
        found = [Archive(one, None) for one in _local(path)]
    else:
        found = [Archive(data_path(one), one) for one in _remote(url)]
    if not found:
        raise DataError(
            f"There are no shards {path}; give a folder of archives that end in .tar, one of them, a pattern as in "
            "part-{000..099}.tar, or a list of files that ends in .csv or .parquet."
        )
    return found


def _local(path: Path) -> list[Path]:
    if path.is_dir():
        return _below(path)
    named = [Path(one) for one in _ranged(str(path))]
    return [file for one in named for file in ([one] if one.is_file() else sorted(one.parent.glob(one.name)))]


def _below(folder: Path) -> list[Path]:
    """Archives directly in a folder, and in those in it, as of splits."""
    return sorted([*folder.glob(f"*{_ENDING}"), *folder.glob(f"*/*{_ENDING}")])


def _remote(url: str) -> list[str]:
    head, mark, query = url.partition("?")
    if not head.lower().endswith(_ENDING):
        head = f"{head.rstrip('/')}/*{_ENDING}"
    found = []
    for one in _ranged(head):
        # The name alone: a server's page of links may name what it likes.
        folder, _, name = one.rpartition("/")
        found += [f"{folder}/{hit}" for hit in _globbed(one)] if "*" in name else [f"{one}{mark}{query}"]
    return found


def _globbed(url: str) -> list[str]:
    try:
        hits = ask(url, lambda system, place: list(system.glob(place)))
    except OSError as error:
        raise DataError(f"{data_path(url)} cannot be listed ({error.strerror}); name each shard.") from None
    return sorted({str(hit).rpartition("/")[2] for hit in hits})


def _ranged(text: str) -> list[str]:
    """The texts that ``{000..099}`` in one means."""
    found = _RANGE.search(text)
    if found is None:
        return [text]
    first, last = int(found[1]), int(found[2])
    if not 0 <= last - first < _MOST:
        raise DataError(f"{found[0]} names no shards, or more than {_MOST:,}; give the first and the last number.")
    width = len(found[1])
    numbered = (f"{text[: found.start()]}{number:0{width}}{text[found.end() :]}" for number in range(first, last + 1))
    return [one for text in numbered for one in _ranged(text)]
