"""Whether the scans of a JPEG file hold what they should, which decoders tell nobody but the standard error stream.

Where bytes are lost between two markers, a decoder goes on with what follows, at another place, and fills what is
missing in the end with grey. Two things give that away: restart markers that are missing or out of order, and bits that
are left or lacking when all blocks have been read. That is told by reading the code words of a sequential scan (T.81,
annex F) without making pixels of them. It takes a few tenths of a millisecond per kilobyte, so large files are read so
only when their picture ends in the grey of a decoder; of progressive ones the restart markers are looked at alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["scan_fault"]

_SOF_HUFFMAN = (0xC0, 0xC1)
_SOF_PROGRESSIVE = 0xC2
_SOF_OTHER = (0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_DHT, _SOS, _DRI, _END = 0xC4, 0xDA, 0xDD, 0xD9
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_READ_BYTES = 1 << 17
"""Largest file that is read code word by code word in any case."""
_FILL = 128
_END_OF_BLOCK = 64
_BAD = 1 << 20
_STUFFED_TAIL = 2
"""Bytes that may be left before a marker: encoders of cheap cameras leave one or two, and the picture is whole."""


@dataclass(frozen=True)
class _Component:
    horizontal: int
    vertical: int


@dataclass
class _Header:
    height: int = 0
    width: int = 0
    sequential: bool = False
    components: dict[int, _Component] = field(default_factory=dict)
    tables: dict[int, memoryview] = field(default_factory=dict)
    interval: int = 0
    read: bool = True

    def take(self, kind: int, segment: bytes) -> None:
        """What a segment says, where it matters."""
        if kind in (*_SOF_HUFFMAN, _SOF_PROGRESSIVE):
            self.height, self.width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
            self.sequential = kind != _SOF_PROGRESSIVE
            places = range(6, 6 + 3 * segment[5], 3)
            self.components = {segment[at]: _Component(segment[at + 1] >> 4, segment[at + 1] & 15) for at in places}
        elif kind == _DHT:
            self.tables |= _read_tables(segment)
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
    header, at = _Header(read=len(data) <= _READ_BYTES or _ends_in_grey(image)), 2
    try:
        while (found := _MARKER.search(data, at)) is not None:
            kind, length = found[1][0], int.from_bytes(data[found.end() : found.end() + 2], "big")
            if kind == _END or kind in _SOF_OTHER:
                return ""
            at = found.end() + length
            segment = data[found.end() + 2 : at]
            if kind == _SOS and (fault := _fault_of(_until_marker(data, at), segment, header)):
                return fault
            header.take(kind, segment)
    except (IndexError, KeyError, ValueError, ZeroDivisionError):
        return "its headers contradict each other"
    return ""


def _until_marker(data: bytes, at: int) -> bytes:
    end = _MARKER.search(data, at)
    return data[at : len(data) if end is None else end.start()]


def _ends_in_grey(image: NDArray[Any]) -> bool:
    """Whether a corner, whichever is the last one as the picture was turned, is the grey that decoders fill with."""
    corners = [image[rows, columns] for rows in (slice(4), slice(-4, None)) for columns in (slice(4), slice(-4, None))]
    return any(bool((np.abs(corner.astype(np.int16) - _FILL) <= 2).all()) for corner in corners)


def _up(value: int, by: int) -> int:
    return -(-value // by)


def _read_tables(segment: bytes) -> dict[int, memoryview]:
    """Of each Huffman table, by its class and number: what the next 16 bits are, as ``_symbols`` has it."""
    tables, at = {}, 0
    while at + 17 <= len(segment):
        counts = segment[at + 1 : at + 17]
        total = sum(counts)
        tables[segment[at]] = _symbols(counts, segment[at + 17 : at + 17 + total], direct=segment[at] < 16)
        at += 17 + total
    return tables


@lru_cache(32)
def _symbols(counts: bytes, values: bytes, *, direct: bool) -> memoryview:
    """From 16 bits to the code word that they begin with: 128 times the bits it takes, plus its coefficients.

    ``_BAD`` where no code word begins so. ``direct`` is the table of first coefficients.
    """
    table = np.full(1 << 16, _BAD, np.int32)
    code = place = 0
    for bits, count in enumerate(counts, 1):
        for value in values[place : place + count]:
            run, size = (0, value) if direct else (value >> 4, value & 15)
            ends = not direct and size == 0 and run != 15
            entry = (bits + size) << 7 | (_END_OF_BLOCK if ends else run + 1)
            table[code << (16 - bits) : (code + 1) << (16 - bits)] = entry
            code += 1
        place += count
        code <<= 1
    return memoryview(table.data)  # indexed one by one, which of an array takes thrice as long


def _fault_of(scan: bytes, segment: bytes, header: _Header) -> str:
    """What is wrong with one scan; ``scan`` is all up to the next marker that is no restart."""
    ids = [segment[1 + 2 * place] for place in range(segment[0])]
    units = header.units(ids)
    marks = list(_RESTART.finditer(scan))
    wanted = _up(units, header.interval) - 1 if header.interval and header.height else 0
    numbers = [mark[1][0] - 0xD0 for mark in marks]
    if header.height and numbers != [place % 8 for place in range(wanted)]:
        return "restart markers are missing or out of order"
    if not (header.sequential and header.height and header.read):
        return ""
    borders = [0, *(place for mark in marks for place in mark.span()), len(scan)]
    plan = _plan(ids, segment, header)
    for place, (start, end) in enumerate(zip(borders[::2], borders[1::2], strict=True)):
        left = units - place * header.interval if header.interval else units
        if fault := _read(scan[start:end], min(left, header.interval or units), plan):
            return fault
    return ""


_Plan = list[tuple[memoryview, memoryview]]


def _plan(ids: list[int], segment: bytes, header: _Header) -> _Plan:
    """Of each block of a unit, in order, its two tables."""
    plan: _Plan = []
    for place, name in enumerate(ids):
        tables = segment[2 + 2 * place]
        own = header.components[name]
        blocks = own.horizontal * own.vertical if len(ids) > 1 else 1
        plan += [(header.tables[tables >> 4], header.tables[16 + (tables & 15)])] * blocks
    return plan


def _windows(data: bytes) -> tuple[memoryview, int]:
    """The 16 bits from each bit on, and how many bits there are; beyond the end there are ones."""
    raw = np.frombuffer(data.replace(b"\xff\x00", b"\xff") + b"\xff" * 6, np.uint8).astype(np.uint32)
    three = raw[:-2] << 16 | raw[1:-1] << 8 | raw[2:]
    windows = np.stack([three >> (8 - bit) for bit in range(8)], axis=1).astype(np.uint16)
    return windows.ravel().data, 8 * (len(raw) - 6)


def _read(data: bytes, units: int, plan: _Plan) -> str:
    """Read one stretch between restarts; empty where its bits are those of so many units."""
    window, bits = _windows(data.rstrip(b"\xff"))
    at = 0
    try:
        for _ in range(units):
            for first, others in plan:
                at += first[window[at]] >> 7
                count = 1
                while count < _END_OF_BLOCK:
                    step = others[window[at]]
                    at += step >> 7
                    count += step & 127
                if count > _END_OF_BLOCK and step & 127 != _END_OF_BLOCK:
                    return "a block has too many coefficients"
    except IndexError:
        return "bytes are missing"
    if at > bits:
        return "bytes are missing"
    return "bytes are left over" if bits - at >= 8 * (_STUFFED_TAIL + 1) else ""
