"""Lines of a frame that are there twice: a sensor's noise never repeats, a fault on the way from it does.

A buffer that is read twice, a field that is lost, rows that stick: the picture looks whole, and resized it may be like
a good one. In the frame as it came the copies are the same to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .probes import probes

__all__ = ["twin_share"]

_PROBES = 32
"""Pixels of a line that are compared; two lines of noise of one grey level agree in as many once in 10¹³ times."""
_LEAST_CHANGES = 0.5
_BLOCK = 8
"""Lines of a JPEG's block, which a strong one makes alike; a copy is further away or goes on longer."""
_WORD = 8
_MIXERS = np.random.default_rng(0).integers(0, 1 << 63, 2 * _PROBES, np.uint64) * np.uint64(2) + np.uint64(1)
"""Odd, one for each word of a line."""


def twin_share(frame: NDArray[Any]) -> float:
    """Share of the rows, or of the columns where that is more, that are another one's copy, in [0, 1].

    Lines that say nothing do not count: in which fewer than half of the neighbouring probes differ, as in a background
    that is all black or all white, or in a drawing. Nor do those that a strong JPEG makes alike within a block.

    Args:
        frame: HxW or HxWxC, uint8 or uint16, as the camera gave it.
    """
    plane = frame if frame.ndim == 2 else frame[..., frame.shape[2] // 2]
    height, width = plane.shape
    return max(_share(plane[:, probes(width, _PROBES)]), _share(plane[probes(height, _PROBES)].T))


def _share(probed: NDArray[Any]) -> float:
    """Of lines, of which some pixels are given."""
    lines = np.ascontiguousarray(probed)
    count, length = lines.shape
    changes = (lines[:, 1:] != lines[:, :-1]).view(np.uint8)
    telling = np.einsum("ij->i", changes) >= _LEAST_CHANGES * (length - 1)
    # A line that says nothing is like no other.
    sums = np.where(telling, _hashed(lines), np.arange(count, dtype=np.uint64))
    ordered = np.sort(sums)
    if not (ordered[1:] == ordered[:-1]).any():
        return 0.0
    order = np.argsort(sums, kind="stable")
    begins = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    ends = np.append(begins[1:], count) - 1
    far = order[ends] - order[begins] >= _BLOCK
    twins = np.count_nonzero(_doubled(sums)) + int((ends - begins + 1)[far].sum())
    return float(min(1.0, twins / count))


def _hashed(lines: NDArray[Any]) -> NDArray[np.uint64]:
    """``[n]``: lines that differ have another number but once in 2⁶⁴ times (the mixing is that of SplitMix64)."""
    short = -lines.shape[1] * lines.itemsize % _WORD
    padded = np.pad(lines, ((0, 0), (0, short // lines.itemsize))) if short else lines
    words = padded.view(np.uint64)
    mixed = (words ^ (words >> np.uint64(32))) * _MIXERS[: words.shape[1]]
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(np.einsum("ij->i", mixed ^ (mixed >> np.uint64(32))), np.uint64)


def _doubled(sums: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which lines are in pairs of which one is the other's copy, for longer than a block."""
    same = np.pad(sums[1:] == sums[:-1], 2)
    alone = same[1:-1] & ~same[:-2] & ~same[2:]
    pairs = np.lib.stride_tricks.sliding_window_view(np.pad(alone, _BLOCK), _BLOCK + 1)[:, ::2].all(axis=1)
    # Back from the first pair of each stretch to all lines of it.
    return np.asarray(np.convolve(pairs, np.ones(_BLOCK + 2), "full") > 0)
