"""Pictures of predictions for people: the image, its heatmap, the outline of the labelled defect."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath

import numpy as np

from patchcore_edge_runtime.images.files import write_image

from ..data.batch import Batch
from ..data.file_names import picture_names
from ..data.side_by_side import visualize

__all__ = ["Visualizer"]


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
