"""One JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO, ClassVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from ..display.record import Record
from ..errors import MAKE_ROOM, ConfigError, cannot_write
from .base import SinkContext, SinkSettings

__all__ = ["JsonlSettings", "JsonlSink", "new_results_file"]

_TAIL_BYTES = 1 << 20


class JsonlSettings(SinkSettings):
    """``[sinks.jsonl]``: ``path`` is appended to; at ``max_mb`` MiB it becomes ``path.1``, up to ``path.<keep>``.

    With ``max_mb = 0`` it stays one file.
    """

    path: Path
    max_mb: NonNegativeFloat = 100.0
    keep: NonNegativeInt = Field(default=10, le=10_000)


class JsonlSink:
    """Writes a line per frame, each handed to the system whole, so that a cut-off run keeps what it claimed.

    Args:
        path: the file.
        append: go on with a file that is there; a last line cut off by a power failure is taken away first.
        max_bytes: size at which the file is rotated; never when 0.
        keep: rotated files to keep, ``path.1`` the newest.
    """

    Settings: ClassVar[type[SinkSettings]] = JsonlSettings
    pictures: ClassVar[bool] = False

    def __init__(self, path: Path, *, append: bool = False, max_bytes: int = 0, keep: int = 0) -> None:
        self._path, self._max_bytes, self._keep = path, max_bytes, keep
        self._file = self._open()
        self._size = _whole_lines(path) if append else 0
        self._file.truncate(self._size)

    @classmethod
    def from_settings(cls, settings: JsonlSettings, context: SinkContext) -> JsonlSink:
        """Append to the file that the settings name."""
        path = context.folder / settings.path
        return cls(path, append=True, max_bytes=round(settings.max_mb * 2**20), keep=settings.keep)

    def write(self, record: Record) -> None:
        """Write one line; a line that does not fit on the disk leaves no half of itself."""
        line = (json.dumps(record.to_dict(), ensure_ascii=False, allow_nan=False) + "\n").encode()
        if self._max_bytes and self._size and self._size + len(line) > self._max_bytes:
            self._rotate()
        try:
            written = self._file.write(line)
        except OSError as error:
            self._file.truncate(self._size)
            raise cannot_write(self._path, error, MAKE_ROOM) from None
        if written != len(line):
            self._file.truncate(self._size)
            raise cannot_write(self._path, "the disk is full", MAKE_ROOM)
        self._size += len(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self) -> BinaryIO:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: a line is the system's as soon as it is written. Appending: it goes on where truncate() cut.
            return self._path.open("ab", buffering=0)
        except OSError as error:
            raise cannot_write(self._path, error, MAKE_ROOM) from None

    def _rotate(self) -> None:
        # Closed first: Windows does not rename an open file.
        self._file.close()
        try:
            for number in range(self._keep, 0, -1):
                older = self._path if number == 1 else _numbered(self._path, number - 1)
                if older.exists():
                    older.replace(_numbered(self._path, number))
        except OSError:
            # Another program holds one of them: better a long file than a lost line.
            self._file = self._open()
            return
        self._file, self._size = self._open(), 0
        self._file.truncate(0)


def new_results_file(folder: Path) -> Path:
    """``results.jsonl`` in a folder, for results of one pass.

    Raises:
        ConfigError: an earlier pass left its results there, which would be lost or mixed with the new ones.
    """
    path = folder / "results.jsonl"
    if path.exists():
        raise ConfigError(f"{folder} holds the results of an earlier run; give another folder, or remove that one.")
    return path


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _whole_lines(path: Path) -> int:
    """Bytes up to the end of the last whole line."""
    size = path.stat().st_size
    with path.open("rb") as reader:
        reader.seek(max(0, size - _TAIL_BYTES))
        tail = reader.read()
    return size - len(tail) + tail.rfind(b"\n") + 1
