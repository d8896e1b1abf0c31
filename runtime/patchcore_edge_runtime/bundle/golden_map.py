"""Anomaly maps of golden images, coarsely: enough to tell a wrong map, and small enough for a manifest."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .manifest import GoldenMap

__all__ = ["coarse", "deviation", "golden_map"]

_CELLS = 8
"""Rows and columns; fewer where the map is smaller."""


def coarse(anomaly_map: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float64]:
    """The mean of each cell of a grid of ``shape`` (rows, columns) over a map HxW."""
    cells = cv2.resize(anomaly_map.astype(np.float64), shape[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(cells, np.float64)


def golden_map(anomaly_map: NDArray[Any], tolerance: float) -> GoldenMap:
    """What to keep of a map HxW; ``tolerance`` as in ``GoldenMap``."""
    cells = coarse(anomaly_map, (min(_CELLS, anomaly_map.shape[0]), min(_CELLS, anomaly_map.shape[1])))
    # Six digits are more than any tolerance.
    rows = tuple(tuple(float(f"{max(0.0, cell):.6g}") for cell in row) for row in cells)
    return GoldenMap(cells=rows, tolerance=tolerance)


def deviation(anomaly_map: NDArray[Any], golden: GoldenMap) -> float:
    """Of the farthest cell of a map HxW, relative to the largest that is expected; NaN where the map has one."""
    expected = np.array(golden.cells)
    return float(np.abs(coarse(anomaly_map, (expected.shape[0], expected.shape[1])) - expected).max() / expected.max())
