"""One JSON object a line."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, ClassVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from ..display.record import Record
from ..errors import MAKE_ROOM, ConfigError, cannot_write
from ..system import is_at
from .base import SinkContext, SinkSettings
from .json_lines import go_on_with, require_lines
from .places import without_waiting

__all__ = ["JsonlSettings", "JsonlSink"]

_LOG = logging.getLogger(__name__)


class JsonlSettings(SinkSettings):
    """``[sinks.jsonl]``: ``path`` is appended to; at ``max_mb`` MiB it becomes ``path.1``, up to ``path.<keep>``.

    With ``max_mb = 0`` it stays one file.

    Attributes:
        path: file to append to.
        max_mb: size in MiB at which it becomes ``path.1``; never when 0.
        keep: rotated files to keep.
    """

    path: Path
    max_mb: NonNegativeFloat = 100.0
    keep: NonNegativeInt = Field(default=10, le=10_000)


class JsonlSink:
    """Writes a line per frame, each handed to the system whole, so that a cut-off run keeps what it claimed.

    A file that somebody deletes or moves while it is written to is noticed before the next line, which goes into a new
    one. A file that cannot be rotated at the moment grows on. A device or a pipe, as ``/dev/stdout`` is, gets the lines
    and nothing else.

    Args:
        path: the file.
        append: go on with a file that is there; what a power failure left of a last line is taken away first.
        max_bytes: size at which the file is rotated; never when 0.
        keep: rotated files to keep, ``path.1`` the newest.
    """

    Settings: ClassVar[type[SinkSettings]] = JsonlSettings
    pictures: ClassVar[bool] = False

    def __init__(self, path: Path, *, append: bool = False, max_bytes: int = 0, keep: int = 0) -> None:
        self._path, self._max_bytes, self._keep = path, max_bytes, keep
        # Of a file that may end in half a line: where its whole lines end.
        self._torn: int | None = None
        self._has_identity, self._says_stuck = True, True
        self._file = self._open()
        if not append and _state(self._file) is not None:
            self._file.truncate(0)
        # What the file was like when it was left; None of a device.
        self._left = _state(self._file)

    @classmethod
    def from_settings(cls, settings: JsonlSettings, context: SinkContext) -> JsonlSink:
        """Append to the file that the settings name."""
        path = context.folder / settings.path
        return cls(path, append=True, max_bytes=round(settings.max_mb * 2**20), keep=settings.keep)

    @classmethod
    def check(cls, _: JsonlSettings, places: Mapping[str, Path]) -> list[str]:
        """Nothing to note; raises ``ConfigError`` where the file is there and of something else."""
        for path in places.values():
            with suppress(OSError):
                require_lines(path)
        return []

    def write(self, record: Record) -> None:
        """Write one line; a line that does not fit on the disk leaves no half of itself."""
        line = (json.dumps(record.to_dict(), ensure_ascii=False, allow_nan=False) + "\n").encode()
        try:
            size = self._whole_size()
            if self._max_bytes and size and size + len(line) > self._max_bytes:
                size = self._rotate(size)
            self._torn = size
            written = self._file.write(line)
            if written != len(line):
                self._cut()
                raise cannot_write(self._path, "the disk is full", MAKE_ROOM)
        except OSError as error:
            with suppress(OSError):
                self._cut()
            raise cannot_write(self._path, error, MAKE_ROOM) from None
        self._torn, self._left = None, _state(self._file)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self) -> BinaryIO:
        """The file, opened to go on with; half a last line is taken away."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: a line is the system's as soon as it is written. Appending: it goes on where truncate() cut.
            file = open(self._path, "ab", buffering=0, opener=without_waiting)  # noqa: SIM115 the sink closes it
        except OSError as error:
            raise cannot_write(self._path, error, MAKE_ROOM) from None
        try:
            if _state(file) is not None:
                go_on_with(file, self._path)
        except OSError as error:
            file.close()
            raise cannot_write(self._path, error, MAKE_ROOM) from None
        except ConfigError:
            file.close()
            raise
        return file

    def _is_there(self) -> bool:
        return is_at(self._path, os.fstat(self._file.fileno()))

    def _whole_size(self) -> int:
        """Bytes in the file that bears the name, which is the one that is open here, or will be from now on."""
        if self._file.closed or (self._has_identity and not self._is_there()):
            fresh = self._open()
            if not self._file.closed:
                _LOG.warning("%s was deleted, moved or replaced; what comes is written into a new one.", self._path)
                self._file.close()
            self._file, self._torn, self._left = fresh, None, _state(fresh)
            # On some network drives a file is another one each time that it is looked at.
            self._has_identity = self._is_there()
        self._cut()
        if self._left != (left := _state(self._file)) and left is not None:
            # Somebody else has changed it, and what is there may end within a line.
            go_on_with(self._file, self._path)
        return os.fstat(self._file.fileno()).st_size

    def _cut(self) -> None:
        if self._torn is not None and self._left is not None:
            self._file.truncate(self._torn)
            self._torn = None

    def _rotate(self, size: int) -> int:
        """Begin a new file, which is open before the old ones move; returns the size of the file to write to."""
        fresh_path = self._path.with_name(f"{self._path.name}.new")
        try:
            fresh = fresh_path.open("ab", buffering=0)
        except OSError as error:
            return self._stuck(size, error)
        try:
            fresh.truncate(0)
            if sys.platform == "win32":
                # Windows renames no open file. Whatever fails now, the next line opens what bears the name.
                fresh.close()
                self._file.close()
            _make_way(self._path, self._keep)
            fresh_path.replace(self._path)
        except OSError as error:
            fresh.close()
            with suppress(OSError):
                fresh_path.unlink(missing_ok=True)
            return self._stuck(size, error)
        self._file.close()
        self._file, self._says_stuck = (self._open() if fresh.closed else fresh), True
        return 0

    def _stuck(self, size: int, error: OSError) -> int:
        # Another program holds a file, or there is no descriptor left: better a long file than a lost line.
        if self._says_stuck:
            _LOG.warning("%s cannot be rotated now (%s) and grows on.", self._path, error.strerror)
            self._says_stuck = False
        return self._whole_size() if self._file.closed or not self._is_there() else size


def _make_way(path: Path, keep: int) -> None:
    """Move ``path`` to ``path.1`` and each older one on by one, but none farther than the first number that is free."""
    free = next((number for number in range(1, keep + 1) if not _numbered(path, number).exists()), keep)
    for number in range(free, 1, -1):
        _numbered(path, number - 1).replace(_numbered(path, number))
    if keep:
        path.replace(_numbered(path, 1))


def _state(file: BinaryIO) -> tuple[int, int] | None:
    """Size and time of the last change of a file; None of a device or a pipe, which cannot be read back or cut."""
    facts = os.fstat(file.fileno())
    return (facts.st_size, facts.st_mtime_ns) if S_ISREG(facts.st_mode) else None


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
