"""Whether the scans of a JPEG file hold what they should, which decoders tell nobody but the standard error stream.

Where bytes are lost between two markers, a decoder goes on with what follows, at another place, and fills what is
missing in the end with grey, or leaves it coarse. What gives that away: restart markers that are missing or out of
order, bits that are left or lacking when all blocks have been read, and scans that do not follow one another. To read
all code words takes up to a second per megabyte, so large files are read so only when their picture ends in the grey of
a decoder or they have a hole, and the largest not at all: they are judged by what can be seen of the grey and the hole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .jpeg import SCAN, JpegWalk
from .jpeg_entropy import Codes, Read, codes_of, read_progressive, read_sequential, stretch_fault

__all__ = ["scan_fault"]

_SOF_HUFFMAN = (0xC0, 0xC1)
_SOF_PROGRESSIVE = 0xC2
_SOF_OTHER = (0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_DHT, _DRI = 0xC4, 0xDD
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_READ_BYTES = 1 << 17
"""Largest file that is read code word by code word in any case."""
_MOST_READ_BYTES = 1 << 21
"""Largest one that is read so where something speaks for damage."""
_FILL, _FILLED = 128, (8, 32)
"""The grey of a decoder, and how much of it at the end of a file that is not read is damage."""
_HOLE = bytes(256)
"""Zeros that a disk or a network share has in place of what it lost; of a flat picture they may be its blocks."""
_ORDER = "its scans do not follow one another"


@dataclass
class _Component:
    """A colour channel: how often it is sampled, and what is known of its coefficients so far.

    Attributes:
        bits_left: of each coefficient, how many bits are still to come; None before the first scan.
        known: as ``read_progressive`` has it.
    """

    horizontal: int
    vertical: int
    bits_left: list[int | None] = field(default_factory=lambda: [None] * 64)
    known: list[int] = field(default_factory=list)


@dataclass
class _Header:
    read: bool
    height: int = 0
    width: int = 0
    progressive: bool = False
    components: dict[int, _Component] = field(default_factory=dict)
    tables: dict[int, Codes] = field(default_factory=dict)
    interval: int = 0

    def take(self, kind: int, segment: bytes) -> None:
        """What a segment says, where it matters."""
        if kind in (*_SOF_HUFFMAN, _SOF_PROGRESSIVE):
            self.height, self.width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
            self.progressive = kind == _SOF_PROGRESSIVE
            places = range(6, 6 + 3 * segment[5], 3)
            self.components = {segment[at]: _Component(segment[at + 1] >> 4, segment[at + 1] & 15) for at in places}
        elif kind == _DHT:
            self.tables |= codes_of(segment)
        elif kind == _DRI:
            self.interval = int.from_bytes(segment[:2], "big")

    def units(self, ids: list[int]) -> int:
        """Minimum coded units of a scan of these components."""
        across = max(one.horizontal for one in self.components.values())
        down = max(one.vertical for one in self.components.values())
        width, height = self.width, self.height
        if len(ids) == 1:
            own = self.components[ids[0]]
            return _up(_up(width * own.horizontal, across), 8) * _up(_up(height * own.vertical, down), 8)
        return _up(width, 8 * across) * _up(height, 8 * down)


def scan_fault(data: bytes, image: NDArray[Any]) -> str:
    """What is wrong with the scans of a JPEG file, in a few words; empty where nothing is, or where it cannot be told.

    Args:
        data: the file, from its start marker.
        image: HxW or HxWx3 uint8, what the decoder made of it.
    """
    damaged = len(data) > _READ_BYTES and (_ends_in_grey(image, 4, 4, 2) or _HOLE in data)
    header, walk = _Header(read=len(data) <= (_MOST_READ_BYTES if damaged else _READ_BYTES)), JpegWalk()
    walk.go_on(data)
    try:
        for one in walk.segments:
            if one.kind in _SOF_OTHER:
                return ""
            segment = data[one.start : one.end]
            if one.kind == SCAN:
                fault = _fault_of(data[one.end : one.data_end], segment, header)
                if fault:
                    return fault
            header.take(one.kind, segment)
        lacking = any(bits != 0 for own in header.components.values() for bits in own.bits_left)
        if header.height and lacking:
            return "scans are missing"
        filled = not header.read and any(_ends_in_grey(image, *size, 0) for size in (_FILLED, _FILLED[::-1]))
        return "it ends in the grey that decoders fill with" if filled else ""
    except (IndexError, KeyError, ValueError, ZeroDivisionError):
        return "its headers contradict each other"


def _ends_in_grey(image: NDArray[Any], height: int, width: int, tolerance: int) -> bool:
    """Whether a corner, whichever is the last one as the picture was turned, is the grey that decoders fill with."""
    ends = (slice(height), slice(-height, None)), (slice(width), slice(-width, None))
    corners = (image[rows, columns].astype(np.int16) for rows in ends[0] for columns in ends[1])
    return any(bool((np.abs(corner - _FILL) <= tolerance).all()) for corner in corners)


def _up(value: int, by: int) -> int:
    return -(-value // by)


def _fault_of(scan: bytes, segment: bytes, header: _Header) -> str:
    """What is wrong with one scan; ``scan`` is all up to the next marker that is no restart."""
    ids = [segment[1 + 2 * place] for place in range(segment[0])]
    units = header.units(ids)
    marks = list(_RESTART.finditer(scan))
    wanted = _up(units, header.interval) - 1 if header.interval and header.height else 0
    numbers = [mark[1][0] - 0xD0 for mark in marks]
    if header.height and numbers != [place % 8 for place in range(wanted)]:
        return "restart markers are missing or out of order"
    if not _follows(ids, segment, header):
        return _ORDER
    if header.height and not header.read:
        return "" if _zeros_may_be_flat(ids, segment, header) or _HOLE not in scan else "zeros within"
    if not header.height:
        return ""
    borders = [0, *(place for mark in marks for place in mark.span()), len(scan)]
    for place, (start, end) in enumerate(zip(borders[::2], borders[1::2], strict=True)):
        done = place * header.interval
        read = _reader(ids, segment, header, done, min(units - done, header.interval or units))
        if fault := stretch_fault(scan[start:end], read):
            return fault
    return ""


def _zeros_may_be_flat(ids: list[int], segment: bytes, header: _Header) -> bool:
    """Whether a row of zeros may be blocks of one colour: with tables made for the picture, not with the usual ones."""
    if header.progressive:
        return True
    used = [segment[2 + 2 * place] for place in range(len(ids))]
    tables = [header.tables[number] for both in used for number in (both >> 4, 16 + (both & 15))]
    return all(stands_for[0] == 0 for _, stands_for in tables)


def _band(segment: bytes, header: _Header) -> tuple[int, int, int, int]:
    """First and last coefficient of a scan, and the bits that were to come before it and are after it."""
    first, last, bits = segment[-3:]
    return (first, last, bits >> 4, bits & 15) if header.progressive else (0, 63, 0, 0)


def _follows(ids: list[int], segment: bytes, header: _Header) -> bool:
    """Whether a scan gives what is to come; it is noted. What a decoder is given twice it warns of."""
    first, last, before, after = _band(segment, header)
    if not first <= last < 64 or (first > 0 and len(ids) > 1):
        return False
    for own in map(header.components.__getitem__, ids):
        if set(own.bits_left[first : last + 1]) != {before or None}:
            return False
        own.bits_left[first : last + 1] = [after] * (last + 1 - first)
    return True


def _reader(ids: list[int], segment: bytes, header: _Header, done: int, units: int) -> Read:
    """Reads the units of one stretch, behind so many that are done."""
    each: list[tuple[int, _Component]] = []
    for place, name in enumerate(ids):
        own = header.components[name]
        each += [(segment[2 + 2 * place], own)] * (own.horizontal * own.vertical if len(ids) > 1 else 1)
    if not header.progressive:
        plan = [(header.tables[tables >> 4], header.tables[16 + (tables & 15)]) for tables, _ in each]
        return read_sequential(units, plan)
    first, last, before, _ = _band(segment, header)
    if first:
        own = each[0][1]
        own.known = own.known or [0] * header.units(ids)
        codes = [header.tables[16 + (each[0][0] & 15)]]
    else:
        own, codes = each[0][1], [] if before else [header.tables[tables >> 4] for tables, _ in each]
    return read_progressive((first, last, before > 0), units * len(each), codes, own.known, done)
