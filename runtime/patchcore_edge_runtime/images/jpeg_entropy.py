"""The code words of a JPEG's scans (T.81, annexes F and G), read without making pixels of them.

All that comes out is whether the bits are those of so many blocks: none lacking, none left.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

__all__ = ["Codes", "ProgressiveScan", "Read", "codes_of", "read_progressive", "read_sequential", "stretch_fault"]

_END_OF_BLOCK = 64
_BAD = 1 << 30
_STUFFED_TAIL = 2
"""Bytes that may be left before a marker: encoders of cheap cameras leave one or two, and the picture is whole."""
_MANY = "a block has too many coefficients"

Codes = tuple[bytes, bytes]
"""A Huffman table as a file has it: how many code words there are of each length, and what they stand for."""
Read = Callable[[memoryview], tuple[int, str]]
"""From the 16 bits at each place to the bits that were read and what is wrong; past their end ``IndexError``."""
ProgressiveScan = tuple[int, int, bool]
"""First and last coefficient, and whether it refines what earlier scans have given."""


def codes_of(segment: bytes) -> dict[int, Codes]:
    """Each Huffman table of a segment, by its class and number."""
    tables, at = {}, 0
    while at + 17 <= len(segment):
        counts = segment[at + 1 : at + 17]
        total = sum(counts)
        tables[segment[at]] = counts, segment[at + 17 : at + 17 + total]
        at += 17 + total
    return tables


def stretch_fault(data: bytes, read: Read) -> str:
    """What is wrong with the data between two restarts, in a few words; empty where ``read`` takes just their bits."""
    window, bits = _windows(data.rstrip(b"\xff"))
    try:
        at, fault = read(window)
    except IndexError:
        return "bytes are missing"
    if fault:
        return fault
    if at > bits:
        return "bytes are missing"
    return "bytes are left over" if bits - at >= 8 * (_STUFFED_TAIL + 1) else ""


def read_sequential(units: int, plan: list[tuple[Codes, Codes]]) -> Read:
    """Reads units of a sequential scan.

    Args:
        units: minimum coded units.
        plan: of each block of a unit, its tables of first and of other coefficients.
    """
    tables = [(_symbols(*first, direct=True), _symbols(*others, direct=False)) for first, others in plan]

    def read(window: memoryview) -> tuple[int, str]:
        at = 0
        for _ in range(units):
            for first, others in tables:
                at += first[window[at]] >> 7
                count = 1
                while count < _END_OF_BLOCK:
                    step = others[window[at]]
                    at += step >> 7
                    count += step & 127
                if count > _END_OF_BLOCK and step & 127 != _END_OF_BLOCK:
                    return at, _MANY
        return at, ""

    return read


def read_progressive(scan: ProgressiveScan, blocks: int, plan: list[Codes], known: list[int], start: int) -> Read:
    """Reads blocks of a progressive scan.

    Args:
        scan: what it gives.
        blocks: how many.
        plan: of each block of a unit, its table; of coefficients other than the first there is one.
        known: of each block of the picture, bit k is set where coefficient k is not zero so far; is brought up to date.
        start: index in ``known`` of the first block.
    """
    first, last, refines = scan
    if first == 0 and refines:
        return lambda _: (blocks, "")
    if first == 0:
        sizes = [_symbols(*codes, direct=True) for codes in plan]

        def read_first(window: memoryview) -> tuple[int, str]:
            at = 0
            for _ in range(blocks // len(sizes)):
                for table in sizes:
                    at += table[window[at]] >> 7
            return at, ""

        return read_first
    table = _values(*plan[0])
    work = _refine if refines else _give
    return lambda window: work(window, table, known, range(start, start + blocks), first, last)


def _give(
    window: memoryview, table: memoryview, known: list[int], blocks: range, first: int, last: int
) -> tuple[int, str]:
    """Coefficients for the first time (G.1.2.2): a run of zeros and a value, or the end of so many blocks."""
    at, block = 0, blocks.start
    while block < blocks.stop:
        place, found, ended = first, 0, 1
        while place <= last:
            step = table[window[at]]
            at += step >> 8
            run, size = step >> 4 & 15, step & 15
            if size:
                place += run
                found |= 1 << place
                at += size
                place += 1
            elif run == 15:
                place += 16
            else:
                ended = (1 << run) + (window[at] >> (16 - run) if run else 0)
                at += run
                break
        if place > last + 1:
            return at, _MANY
        known[block] |= found
        block += ended
    return at, "" if block == blocks.stop else _MANY


def _refine(
    window: memoryview, table: memoryview, known: list[int], blocks: range, first: int, last: int
) -> tuple[int, str]:
    """One bit more of each coefficient (G.1.2.3); those that were zero may become something."""
    at, ended = 0, 0
    band = (2 << last) - (1 << first)
    for block in blocks:
        mask, place = known[block], first
        if not ended:
            at, place, ended = _refine_block(window, table, known, block, range(first, last + 1), at)
            if place > last + 1:
                return at, _MANY
        if ended:
            at += (mask & band & (-1 << place)).bit_count()
            ended -= 1
    return at, _MANY if ended else ""


def _refine_block(
    window: memoryview, table: memoryview, known: list[int], block: int, band: range, at: int
) -> tuple[int, int, int]:
    """Place in the data, the coefficient up to which it went, and how many blocks end there, this one with them."""
    mask, place, last = known[block], band.start, band.stop - 1
    while place <= last:
        step = table[window[at]]
        at += step >> 8
        run, size = step >> 4 & 15, step & 15
        if not size and run < 15:
            return at + run, place, (1 << run) + (window[at] >> (16 - run) if run else 0)
        at += size != 0
        while place <= last and (mask >> place & 1 or run):
            if mask >> place & 1:
                at += 1
            else:
                run -= 1
            place += 1
        if size:
            # One behind the last, where there was no room for it.
            place += place > last
            known[block] |= 1 << place
        place += 1
    return at, place, 0


def _windows(data: bytes) -> tuple[memoryview, int]:
    """The 16 bits from each bit on, and how many bits there are; beyond the end there are ones."""
    raw = np.frombuffer(data.replace(b"\xff\x00", b"\xff") + b"\xff" * 6, np.uint8)
    three = raw[:-2].astype(np.uint32)
    for later in (raw[1:-1], raw[2:]):
        three <<= 8
        three |= later
    windows = np.empty((len(three), 8), np.uint16)
    for bit in range(8):
        np.right_shift(three, 8 - bit, out=windows[:, bit], casting="unsafe")
    return windows.ravel().data, 8 * (len(raw) - 6)


@lru_cache(32)
def _symbols(counts: bytes, values: bytes, *, direct: bool) -> memoryview:
    """From 16 bits to the code word that they begin with: 128 times the bits it takes, plus its coefficients.

    ``direct`` is the table of first coefficients.
    """

    def entry(bits: int, value: int) -> int:
        run, size = (0, value) if direct else (value >> 4, value & 15)
        ends = not direct and size == 0 and run != 15
        return (bits + size) << 7 | (_END_OF_BLOCK if ends else run + 1)

    return _table(counts, values, entry)


@lru_cache(32)
def _values(counts: bytes, values: bytes) -> memoryview:
    """From 16 bits to the code word that they begin with: 256 times its own bits, plus what it stands for."""
    return _table(counts, values, lambda bits, value: bits << 8 | value)


def _table(counts: bytes, values: bytes, entry: Callable[[int, int], int]) -> memoryview:
    """One entry for each 16 bits; where no code word begins so, it leads beyond the end of all data."""
    table = np.full(1 << 16, _BAD, np.int32)
    code = place = 0
    for bits, count in enumerate(counts, 1):
        for value in values[place : place + count]:
            table[code << (16 - bits) : (code + 1) << (16 - bits)] = entry(bits, value)
            code += 1
        place += count
        code <<= 1
    return memoryview(table.data)  # indexed one by one, which of an array takes thrice as long
