"""Regions of defects: the map in frame coordinates, and the connected parts of it that are above the threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..images.geometry import Roi
from .ignore_mask import IgnoreMask

__all__ = ["MAX_REGIONS", "Region", "find_regions", "keep_large", "map_in_frame"]

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
    box: Roi
    area: int
    peak: float
    peak_at: tuple[int, int]


def map_in_frame(
    model_map: NDArray[np.float32], frame_size: tuple[int, int], box: Roi, ignore: IgnoreMask | None = None
) -> NDArray[np.float32]:
    """The model's map in frame coordinates: 33 MB for a 4K frame.

    Args:
        model_map: HxW float32 raw scores, of the model's size.
        frame_size: height and width of the frame.
        box: the part of the frame that the model saw.
        ignore: where nothing counts.

    Returns:
        HxW float32 raw scores; zero where the model did not look and where nothing counts.
    """
    x, y, width, height = box
    full = np.asarray(cv2.resize(model_map, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    if (height, width) != frame_size:
        part, full = full, np.zeros(frame_size, np.float32)
        full[y : y + height, x : x + width] = part
    if ignore is not None:
        full[ignore.mask(frame_size)] = 0
    return full


def keep_large(mask: NDArray[np.bool_], min_area: float) -> NDArray[np.bool_]:
    """The mask without connected parts (8 neighbours) of fewer than ``min_area`` pixels."""
    if min_area <= 1 or not mask.any():
        return mask
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= min_area
    large[0] = False
    return np.asarray(large[labels], np.bool_)


def find_regions(
    anomaly_map: NDArray[np.float32], mask: NDArray[np.bool_], min_area: float = 0.0
) -> tuple[Region, ...]:
    """The connected parts (8 neighbours) of a mask, the highest peak first.

    Args:
        anomaly_map: HxW float32 raw scores.
        mask: HxW bool.
        min_area: in pixels; smaller parts are left out, as ``keep_large`` does.
    """
    # Labelling costs as much per pixel of background as of defect, and most of a frame is background.
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if not width:
        return ()
    box = np.s_[top : top + height, left : left + width]
    anomaly_map, mask = anomaly_map[box], mask[box]
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    largest = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:MAX_REGIONS]
    large = [int(label) for label in largest if stats[label, cv2.CC_STAT_AREA] >= min_area]
    regions = [_region(anomaly_map, labels, stats, label, (left, top)) for label in large]
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
