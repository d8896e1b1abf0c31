"""Pictures of predictions for people: the image, its heatmap, the outline of the labelled defect."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath

import cv2
import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.display.overlay import heatmap
from patchcore_edge_runtime.images.files import write_image
from patchcore_edge_runtime.images.preprocess import Image

from ..data.batch import Batch
from ..data.file_names import picture_names

__all__ = ["Visualizer", "visualize"]

_GREEN = (80, 220, 60)
_GAP = 4


def visualize(
    image: Image,
    anomaly_map: NDArray[np.float32],
    pixel_threshold: float,
    mask: NDArray[np.bool_] | None = None,
) -> Image:
    """The image and its heatmap side by side, a white gap of 4 pixels between them.

    Args:
        image: HxWx3 uint8 BGR of the model's size.
        anomaly_map: HxW float32 raw scores.
        pixel_threshold: where the heatmap turns orange.
        mask: HxW bool; its outline is drawn on the heatmap in green, and the image is left to look at.

    Returns:
        Hx(2W+4)x3 uint8 BGR.
    """
    heat = heatmap(image, anomaly_map, pixel_threshold)
    if mask is not None and mask.any():
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(heat, contours, -1, _GREEN, 1, cv2.LINE_AA)
    return np.concatenate([image, np.full((len(image), _GAP, 3), 255, np.uint8), heat], axis=1)


class Visualizer:
    """Writes what ``visualize`` draws, one PNG per image of a scored batch."""

    def save(
        self, batch: Batch, pixel_threshold: float, folder: Path, names: Mapping[Path, PurePath] | None = None
    ) -> list[Path]:
        """Write a batch's pictures.

        Args:
            batch: scored, on the CPU, with the files that its images come from.
            pixel_threshold: where the heatmap turns orange.
            folder: where the pictures go.
            names: what the picture of each file is called below ``folder``, for files of more than one batch; made of
                the batch's own files when absent (``picture_names``).

        Returns:
            the files written.

        Raises:
            ConfigError: one cannot be written.
        """
        if batch.anomaly_map is None:
            return []
        names = names or picture_names(batch.image_path)
        written = []
        for index, path in enumerate(batch.image_path):
            mask = None if batch.gt_mask is None else batch.gt_mask[index].numpy()
            image = np.asarray(batch.image[index].numpy(), np.uint8)
            picture = visualize(image, batch.anomaly_map[index, 0].numpy(), pixel_threshold, mask)
            written.append(folder / names[path])
            write_image(written[-1], picture)
        return written
