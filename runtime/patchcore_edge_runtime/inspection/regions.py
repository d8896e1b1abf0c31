"""Where the defects are, and where nobody wants to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError

__all__ = ["MAX_REGIONS", "IgnoreMask", "Polygon", "Region", "find_regions"]

Polygon = tuple[tuple[float, float], ...]
"""Corner points x, y as fractions of the frame's width and height, in [0, 1]."""

MAX_REGIONS = 100
"""The largest regions that are described; the mask shows all of them."""


@dataclass(frozen=True)
class Region:
    """A connected part of the mask, in frame pixels.

    Attributes:
        contour: outer contour, ``[k,2]`` int32 points x, y.
        box: bounding box as x, y, width, height.
        area: pixels.
        peak: largest raw score of the map within it.
        peak_at: where that is, as x, y.
    """

    contour: NDArray[np.int32]
    box: tuple[int, int, int, int]
    area: int
    peak: float
    peak_at: tuple[int, int]


def keep_large(mask: NDArray[np.bool_], min_area: float) -> NDArray[np.bool_]:
    """The mask without connected parts (8 neighbours) of fewer than ``min_area`` pixels."""
    if min_area <= 1 or not mask.any():
        return mask
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= min_area
    large[0] = False
    return np.asarray(large[labels], np.bool_)


def find_regions(anomaly_map: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[Region, ...]:
    """The connected parts of a mask, the highest peak first.

    Args:
        anomaly_map: HxW float32 raw scores.
        mask: HxW bool.
    """
    # Labelling costs as much per pixel of background as of defect, and most of a frame is background.
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if not width:
        return ()
    box = np.s_[top : top + height, left : left + width]
    anomaly_map, mask = anomaly_map[box], mask[box]
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    largest = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:MAX_REGIONS]
    regions = [_region(anomaly_map, labels, stats, int(label), (left, top)) for label in largest]
    return tuple(sorted(regions, key=lambda region: -region.peak))


def _region(
    anomaly_map: NDArray[np.float32], labels: NDArray[Any], stats: NDArray[Any], label: int, origin: tuple[int, int]
) -> Region:
    x, y, width, height, area = (int(value) for value in stats[label])
    cut = (slice(y, y + height), slice(x, x + width))
    inside = (labels[cut] == label).astype(np.uint8)
    left, top = x + origin[0], y + origin[1]
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top))
    _, peak, _, (peak_x, peak_y) = cv2.minMaxLoc(anomaly_map[cut], mask=inside)
    contour = max(contours, key=len).reshape(-1, 2).astype(np.int32, copy=False)
    return Region(contour, (left, top, width, height), area, float(peak), (left + int(peak_x), top + int(peak_y)))


class IgnoreMask:
    """Polygons within which nothing counts: a printed date, a clamp, a reflection.

    Raises:
        ConfigError: fewer than three points, or one outside of [0, 1].
    """

    def __init__(self, polygons: Sequence[Sequence[Sequence[float]]]) -> None:
        self.polygons: tuple[Polygon, ...] = tuple(_checked(polygon) for polygon in polygons)
        self._hidden = lru_cache(maxsize=2)(self._draw)
        self._hidden_cells = lru_cache(maxsize=2)(self._cells)

    def hidden(self, frame_size: tuple[int, int]) -> NDArray[np.bool_]:
        """HxW bool in frame coordinates, True where nothing counts."""
        return self._hidden(frame_size)

    def hidden_cells(
        self, frame_size: tuple[int, int], box: tuple[int, int, int, int], map_size: tuple[int, int]
    ) -> NDArray[np.bool_]:
        """The same for the model's map of the frame's part ``box``: True only where a cell is hidden as a whole."""
        return self._hidden_cells(frame_size, box, map_size)

    def _draw(self, frame_size: tuple[int, int]) -> NDArray[np.bool_]:
        height, width = frame_size
        canvas = np.zeros(frame_size, np.uint8)
        for polygon in self.polygons:
            points = np.round(np.array(polygon) * (width - 1, height - 1)).astype(np.int32)
            cv2.fillPoly(canvas, [points], 1)
        return np.asarray(canvas > 0)

    def _cells(
        self, frame_size: tuple[int, int], box: tuple[int, int, int, int], map_size: tuple[int, int]
    ) -> NDArray[np.bool_]:
        x, y, width, height = box
        part = self.hidden(frame_size)[y : y + height, x : x + width].astype(np.float32)
        return np.asarray(cv2.resize(part, map_size[::-1], interpolation=cv2.INTER_AREA) > 0.999)


def _checked(polygon: Sequence[Sequence[float]]) -> Polygon:
    points = tuple(tuple(float(value) for value in point) for point in polygon)
    if len(points) < 3 or not all(len(p) == 2 and all(0 <= value <= 1 for value in p) for p in points):
        raise ConfigError(
            "An ignore polygon needs three points or more, each x and y as fractions of the frame between 0 and 1."
        )
    return tuple((x, y) for x, y in points)
