"""The parts of a frame in which nothing counts."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ..images.geometry import Polygon, Roi, as_polygons

__all__ = ["IgnoreMask"]


class IgnoreMask:
    """Polygons within which nothing counts: a printed date, a clamp, a reflection.

    Args:
        polygons: corners x, y as fractions of the frame's width and height.

    Raises:
        ConfigError: fewer than three points, or one outside of [0, 1].
    """

    def __init__(self, polygons: Iterable[Iterable[Iterable[float]]]) -> None:
        self.polygons: tuple[Polygon, ...] = as_polygons(polygons)
        # A line's frames are of one size, so both are drawn once.
        self._frame_mask = lru_cache(maxsize=2)(self._draw)
        self._map_mask = lru_cache(maxsize=2)(self._shrink)

    def mask(self, frame_size: tuple[int, int]) -> NDArray[np.bool_]:
        """HxW bool in frame coordinates, True where nothing counts; not to be changed."""
        return self._frame_mask(frame_size)

    def map_mask(self, frame_size: tuple[int, int], box: Roi, map_size: tuple[int, int]) -> NDArray[np.bool_]:
        """The same for the model's map of the frame's part ``box``: True only where a cell is masked as a whole."""
        return self._map_mask(frame_size, box, map_size)

    def _draw(self, frame_size: tuple[int, int]) -> NDArray[np.bool_]:
        height, width = frame_size
        canvas = np.zeros(frame_size, np.uint8)
        for polygon in self.polygons:
            points = np.round(np.array(polygon) * (width - 1, height - 1)).astype(np.int32)
            cv2.fillPoly(canvas, [points], 1)
        return np.asarray(canvas > 0)

    def _shrink(self, frame_size: tuple[int, int], box: Roi, map_size: tuple[int, int]) -> NDArray[np.bool_]:
        x, y, width, height = box
        part = self.mask(frame_size)[y : y + height, x : x + width].astype(np.float32)
        return np.asarray(cv2.resize(part, map_size[::-1], interpolation=cv2.INTER_AREA) > 0.999)
