"""A file of JSON lines that somebody has left: where its whole lines end, and whether it is one at all."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import BinaryIO

from ..errors import ConfigError

__all__ = ["go_on_with", "require_lines"]

_LOG = logging.getLogger(__name__)
_TAIL_BYTES = 1 << 20


def go_on_with(file: BinaryIO, path: Path) -> None:
    """Bring a file to the end of a line: one that lacks no more than that is whole, and half of one is taken away.

    Raises:
        ConfigError: the file is of something else, which would be lost.
    """
    require_lines(path)
    size = path.stat().st_size
    with path.open("rb") as reader:
        end = _end_of_lines(reader, size)
        reader.seek(end)
        rest = reader.read(_TAIL_BYTES)
    if end < size and size - end == len(rest) and _is_record(rest):
        # An editor, or a copy of the last line, left its end out.
        file.write(b"\n")
    elif end < size:
        _LOG.warning("%s ends in part of a line, %d bytes, which are taken away.", path, size - end)
        file.truncate(end)


def require_lines(path: Path) -> None:
    """Raise ``ConfigError`` where a file is there and holds no line of JSON, half of one, or what damage leaves."""
    if not path.is_file():
        return
    with path.open("rb") as reader:
        beginning = reader.read(_TAIL_BYTES)
    # Zeros are what a power failure leaves of all of it.
    lines = beginning.lstrip(b"\0").split(b"\n")
    if not any(map(_is_record, lines)) and (len(lines) > 1 or lines[0][:1] not in (b"", b"{")):
        raise ConfigError(f"{path} is there and holds no results; give another place, or move it away.")


def _end_of_lines(reader: BinaryIO, size: int) -> int:
    """Bytes up to the end of the last whole line; after a power failure megabytes of zeros may follow."""
    end = size
    while end:
        begin = max(0, end - _TAIL_BYTES)
        reader.seek(begin)
        found = reader.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
