"""What a TIFF says of its first picture: its tags, read from the file before a decoder believes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["TiffTags", "is_tiff"]

_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BIG = 43
_SIZES = {3: 2, 4: 4, 16: 8}
"""Bytes of a number, by the type that a tag has."""
_MOST_ENTRIES = 512


def is_tiff(data: bytes | memoryview) -> bool:
    """Whether a file is a TIFF, BigTIFF included, by how it begins."""
    return bytes(data[:4]) in _BEGINNINGS


@dataclass(frozen=True)
class _Entry:
    place: int
    size: int
    count: int


class TiffTags:
    """The tags of the first picture.

    Args:
        view: the file; what ``is_tiff`` says yes to.
    """

    def __init__(self, view: memoryview) -> None:
        self._view, order = view, "little" if view[0] == 0x49 else "big"
        self._read: Callable[[int, int], int] = lambda at, size: int.from_bytes(view[at : at + size], order)  # type: ignore[arg-type]
        large = self._read(2, 2) == _BIG
        count_size, entry_size, value_at, offset_size = (8, 20, 12, 8) if large else (2, 12, 8, 4)
        at = self._read(8, 8) if large else self._read(4, 4)
        self._entries: dict[int, _Entry] = {}
        for number in range(min(self._read(at, count_size), _MOST_ENTRIES)):
            entry = at + count_size + number * entry_size
            size, count = _SIZES.get(self._read(entry + 2, 2), 0), self._read(entry + 4, value_at - 4)
            inline = size * count <= offset_size
            place = entry + value_at if inline else self._read(entry + value_at, offset_size)
            self._entries.setdefault(self._read(entry, 2), _Entry(place, size, count))

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def first(self, tag: int, default: int = 0) -> int:
        """The first number of a tag."""
        entry = self._entries.get(tag)
        return default if entry is None else self._read(entry.place, entry.size)

    def all(self, tag: int) -> list[int]:
        """All numbers of a tag, as far as the file goes."""
        entry = self._entries.get(tag)
        if entry is None or not entry.size:
            return []
        there = min(entry.count, max(0, len(self._view) - entry.place) // entry.size)
        return [self._read(entry.place + number * entry.size, entry.size) for number in range(there)]
