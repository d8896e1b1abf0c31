"""One prediction as a picture for people: the image, its heatmap, the outline of the labelled defect."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.display.overlay import heatmap
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.verdict import Thresholds

__all__ = ["GAP", "map_middle", "visualize"]

_GREEN = (80, 220, 60)
GAP = 4
"""White pixels between two pictures."""


def map_middle(thresholds: Thresholds | None, map_maxima: NDArray[np.float32]) -> float:
    """Where heatmaps turn orange: the pixel threshold, or without one the median of the maps' maxima."""
    return float(np.median(map_maxima)) if thresholds is None else thresholds.pixel


def visualize(
    image: Image,
    anomaly_map: NDArray[np.float32],
    pixel_threshold: float,
    mask: NDArray[np.bool_] | None = None,
    *,
    stacked: bool = False,
) -> Image:
    """The image and its heatmap side by side, a white gap of 4 pixels between them.

    Args:
        image: HxWx3 uint8 BGR.
        anomaly_map: float32 raw scores of any size, stretched over the image.
        pixel_threshold: where the heatmap turns orange.
        mask: bool of any size, stretched likewise; its outline is drawn on the heatmap in green and the image is left
            to look at.
        stacked: the heatmap below the image.

    Returns:
        Hx(2W+4)x3 uint8 BGR, or (2H+4)xWx3.
    """
    heat = heatmap(image, anomaly_map, pixel_threshold)
    if mask is not None and mask.any():
        stretched = cv2.resize(mask.astype(np.uint8), (image.shape[1], image.shape[0]), interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(stretched, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(heat, contours, -1, _GREEN, 1, cv2.LINE_AA)
    if stacked:
        return np.concatenate([image, np.full((GAP, image.shape[1], 3), 255, np.uint8), heat])
    return np.concatenate([image, np.full((len(image), GAP, 3), 255, np.uint8), heat], axis=1)
