"""A camera that gives the same picture again and again, as drivers, encoders and servers do when the sensor hangs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Repeats"]

_LEAST_SECONDS = 5.0
"""Drivers, encoders and servers give a frame some times over to keep a rate; that is over sooner."""
_PROBES = 16
_TILES = 8
_DETAIL = 1.0
"""Mean difference between neighbours, in grey levels of 8 bits, from which on a part of a picture holds noise or detail
that never comes twice; black, saturated and smoothly compressed parts may."""
_SAME_SHARE = 0.75
"""Of the parts with detail: a clock that is drawn into the picture goes on."""


class Repeats:
    """Counts how often the same picture came in a row; two pictures of a living sensor differ in their noise.

    Args:
        limit: pictures in a row that may be the same one; any number when 0.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._last: NDArray[Any] | None = None
        self._count, self._since = 0, 0.0

    def is_stuck(self, image: NDArray[Any], moment: float) -> bool:
        """Whether there are more than ``limit`` of the same picture, for five seconds at least, this one included.

        Args:
            image: the next one, HxW or HxWxC; must not be changed afterwards.
            moment: ``time.monotonic``.
        """
        if not self._limit:
            return False
        if self._last is None or not _is_same(self._last, image):
            self._count, self._since = 0, moment
        self._last = image
        self._count += 1
        return self._count > self._limit and moment - self._since >= _LEAST_SECONDS


def _is_same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype or one.ndim < 2:
        return False
    # A few rows tell most pictures apart, in microseconds.
    rows = np.linspace(0, len(one) - 1, _PROBES).astype(int)
    if sum(np.array_equal(one[row], other[row]) for row in rows) < _PROBES // 2:
        return False
    if np.array_equal(one, other):
        return True
    same, detailed = _tiles(one, other)
    return bool(detailed.any() and same[detailed].mean() >= _SAME_SHARE)


def _tiles(one: NDArray[Any], other: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of each part of the picture, whether it is the same in both, and whether it has detail."""
    level = np.iinfo(one.dtype).max / 255 if one.dtype.kind == "u" else 1.0
    same, detailed = [], []
    for band, band_other in zip(np.array_split(one, _TILES), np.array_split(other, _TILES), strict=True):
        for tile, tile_other in zip(
            np.array_split(band, _TILES, axis=1), np.array_split(band_other, _TILES, axis=1), strict=True
        ):
            same.append(np.array_equal(tile, tile_other))
            detail = np.abs(np.diff(tile.astype(np.float32), axis=1)).mean() if tile.shape[1] > 1 else 0.0
            detailed.append(detail >= _DETAIL * level)
    return np.array(same), np.array(detailed)
