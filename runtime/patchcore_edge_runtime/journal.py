"""The journal beside a SQLite file (``-wal``), which has the newest rows before the file does: is it as it was left?

A connection believes what it has written there. Where another program writes over it, a backup that is played back or
a share that is synchronised, the rows in it are gone, and the file's pages with the next checkpoint. The format:
https://sqlite.org/fileformat2.html#walformat
"""

from __future__ import annotations

import os
import struct
import sys
from enum import Enum
from pathlib import Path

from .system import is_at

__all__ = ["Journal", "JournalState"]

_HEAD, _FRAME_HEAD = struct.Struct(">8I"), struct.Struct(">6I")
_MAGIC = (0x377F0682, 0x377F0683)
"""Of checksums over numbers whose smallest byte, or whose largest, is first."""
_FRAMES_AT = 16
"""In the index (``-shm``): how many frames count, in the machine's order of bytes."""
_MASK = 0xFFFFFFFF


class JournalState(Enum):
    """What became of a journal since it was looked at."""

    SOUND = "sound"
    REPLACED = "deleted or replaced"
    """The connection still has the one that it knows."""
    OVERWRITTEN = "overwritten"


class Journal:
    """Knows how a program has left the journal of its database.

    Args:
        database: path of the database's file.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(f"{database.name}-wal")
        self._index = database.with_name(f"{database.name}-shm")
        self._seen: os.stat_result | None = None

    def note(self) -> None:
        """It is now as this program leaves it."""
        self._seen = _stat(self.path)

    def state(self) -> JournalState:
        """What became of it since then; another program that only uses the database leaves it sound."""
        seen, now = self._seen, _stat(self.path)
        if seen is None:
            return JournalState.SOUND
        if now is None or not is_at(self.path, seen):
            return JournalState.REPLACED
        if (now.st_size, now.st_mtime_ns) == (seen.st_size, seen.st_mtime_ns) or self._is_whole():
            return JournalState.SOUND
        return JournalState.OVERWRITTEN

    def _is_whole(self) -> bool:
        """Whether all frames that count are there, by their checksums; so too where that cannot be looked up."""
        try:
            count = int.from_bytes(_beginning(self._index, _FRAMES_AT + 4)[_FRAMES_AT:], sys.byteorder)
            data = memoryview(self.path.read_bytes())
        except OSError:
            return True
        if not count:
            return True
        if len(data) < _HEAD.size:
            return False
        magic, _, page, _, *salts, first, second = _HEAD.unpack_from(data)
        order = ">" if magic & 1 else "<"
        sums = _checksum(data[: _HEAD.size - 8], order, (0, 0))
        if magic not in _MAGIC or sums != (first, second) or len(data) < _HEAD.size + count * (_FRAME_HEAD.size + page):
            return False
        for at in range(_HEAD.size, _HEAD.size + count * (_FRAME_HEAD.size + page), _FRAME_HEAD.size + page):
            _, _, *own, first, second = _FRAME_HEAD.unpack_from(data, at)
            sums = _checksum(data[at : at + 8], order, sums)
            sums = _checksum(data[at + _FRAME_HEAD.size : at + _FRAME_HEAD.size + page], order, sums)
            if own != salts or sums != (first, second):
                return False
        return True


def _checksum(data: memoryview, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    one, two = sums
    for first, second in struct.iter_unpack(f"{order}2I", data):
        one = (one + first + two) & _MASK
        two = (two + second + one) & _MASK
    return one, two


def _beginning(path: Path, size: int) -> bytes:
    # Not more: the bytes behind are locked, and locks are kept to on Windows.
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        return os.read(file, size)
    finally:
        os.close(file)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
