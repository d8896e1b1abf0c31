"""What a TIFF says of its first picture: its tags, read from the file before a decoder believes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Pieces", "TiffTags", "is_tiff", "pieces_of"]

_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BIG = 43
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a whole number, by the type that a tag has: all that libtiff takes. A negative one is read as a huge one."""
_MOST_ENTRIES = 4096
"""What libtiff takes, too: what it reads must be read here."""


def is_tiff(data: bytes | memoryview) -> bool:
    """Whether a file is a TIFF, BigTIFF included, by how it begins."""
    return bytes(data[:4]) in _BEGINNINGS


_WIDTH, _HEIGHT, _BITS, _SAMPLES, _ROWS_PER_STRIP, _PLANAR = 256, 257, 258, 277, 278, 284
_STRIP_OFFSETS, _STRIP_LENGTHS = 273, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_LENGTHS = 322, 323, 324, 325
_APART = 2
"""Of the planar configuration: each sample in strips of its own."""


@dataclass(frozen=True)
class _Entry:
    place: int
    size: int
    count: int


class TiffTags:
    """The tags of the first picture.

    Args:
        view: the file; what ``is_tiff`` says yes to.

    Attributes:
        damaged: zeros stand where a tag should, and decoders take what it said for what is usual.
    """

    def __init__(self, view: memoryview) -> None:
        self._view, order = view, "little" if view[0] == 0x49 else "big"
        self._read: Callable[[int, int], int] = lambda at, size: int.from_bytes(view[at : at + size], order)  # type: ignore[arg-type]
        large = self._read(2, 2) == _BIG
        count_size, entry_size, value_at, offset_size = (8, 20, 12, 8) if large else (2, 12, 8, 4)
        at = self._read(8, 8) if large else self._read(4, 4)
        self.damaged = False
        self._entries: dict[int, _Entry] = {}
        for number in range(min(self._read(at, count_size), _MOST_ENTRIES)):
            entry = at + count_size + number * entry_size
            size, count = _SIZES.get(self._read(entry + 2, 2), 0), self._read(entry + 4, value_at - 4)
            inline = size * count <= offset_size
            place = entry + value_at if inline else self._read(entry + value_at, offset_size)
            tag, kind = self._read(entry, 2), self._read(entry + 2, 2)
            self.damaged |= not tag and not kind
            self._entries.setdefault(tag, _Entry(place, size, count))

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def first(self, tag: int, default: int = 0) -> int:
        """The first number of a tag."""
        entry = self._entries.get(tag)
        return default if entry is None else self._read(entry.place, entry.size)

    def stored(self, tag: int) -> bytes:
        """What a tag holds, as bytes, whatever its type; nothing where it is not there."""
        entry = self._entries.get(tag)
        return b"" if entry is None else bytes(self._view[entry.place : entry.place + max(1, entry.size) * entry.count])

    def some(self, tag: int, most: int) -> list[int]:
        """The first numbers of a tag, ``most`` of them at most, as far as the file goes."""
        entry = self._entries.get(tag)
        if entry is None or not entry.size:
            return []
        there = min(most, entry.count, max(0, len(self._view) - entry.place) // entry.size)
        return [self._read(entry.place + number * entry.size, entry.size) for number in range(there)]


class Pieces(NamedTuple):
    """The strips or tiles that a picture is stored in.

    Attributes:
        places: where each begins, and how long it is, in bytes; each once.
        largest: bytes of pixels in one of them at most.
    """

    places: list[tuple[int, int]]
    largest: int


def pieces_of(tags: TiffTags) -> Pieces:
    """Those that its size has use for: a file may name a million more, or one of them as often."""
    height, width, samples = tags.first(_HEIGHT), tags.first(_WIDTH), max(1, tags.first(_SAMPLES, 1))
    bits = max(1, tags.first(_BITS, 1)) * samples
    tiled = _TILE_OFFSETS in tags
    rows = max(1, tags.first(_TILE_HEIGHT) if tiled else min(height, tags.first(_ROWS_PER_STRIP, height)))
    columns = max(1, tags.first(_TILE_WIDTH) if tiled else width)
    needed = -(-height // rows) * -(-width // columns) * (samples if tags.first(_PLANAR) == _APART else 1)
    begins, lengths = (_TILE_OFFSETS, _TILE_LENGTHS) if tiled else (_STRIP_OFFSETS, _STRIP_LENGTHS)
    places = zip(tags.some(begins, needed), tags.some(lengths, needed), strict=False)
    return Pieces(list(dict.fromkeys(places)), rows * -(-columns * bits // 8))
