"""What travels through the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.images.files import write_image
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.verdict import Thresholds

from .side_by_side import GAP, map_middle, visualize

__all__ = ["Batch"]


class Batch(NamedTuple):
    """N images of the model's size, with what is known and what was found.

    Attributes:
        image: ``[N,H,W,3]`` uint8 BGR; whatever else the model's pre-processor takes does as well.
        gt_label: ``[N]`` bool, True for a defective part; None where nothing is known.
        gt_mask: ``[N,H,W]`` bool defect masks, empty for good images and where ``has_mask`` is False; None where none
            is known.
        image_path: the N files; empty for images that come from none.
        pred_score: ``[N]`` float32 raw scores; None before prediction.
        anomaly_map: ``[N,1,H,W]`` float32 raw maps; None before prediction.
        pred_label: ``[N]`` bool, True for a defective part; None without thresholds.
        pred_mask: ``[N,H,W]`` bool; None without thresholds.
        has_mask: ``[N]`` bool, whether ``gt_mask`` says which pixels are defective; None where it does for all.
        thresholds: what ``pred_label`` and ``pred_mask`` are by; None without.
    """

    image: Tensor
    gt_label: Tensor | None = None
    gt_mask: Tensor | None = None
    image_path: tuple[Path, ...] = ()
    pred_score: Tensor | None = None
    anomaly_map: Tensor | None = None
    pred_label: Tensor | None = None
    pred_mask: Tensor | None = None
    has_mask: Tensor | None = None
    thresholds: Thresholds | None = None

    def on_cpu(self) -> Batch:
        """The same in the memory of the CPU."""
        return self._each(lambda value: value.cpu() if isinstance(value, Tensor) else value)

    def one_by_one(self) -> Iterator[Batch]:
        """Each image as a batch of its own."""
        for place in range(len(self.image)):
            yield self._each(partial(_of_one, place))

    def _each(self, change: Callable[[Any], Any]) -> Batch:
        return Batch(*map(change, self))

    def plot(self) -> Image:
        """The images with their heatmaps beside them, one below the other; labelled defects are outlined in green.

        The heatmap turns orange at the pixel threshold; without one at the middle of the maps' maxima.

        Returns:
            uint8 BGR picture, 2W+4 pixels wide, as OpenCV takes it.

        Raises:
            ConfigError: the batch was not scored, or its images are no pixels.
        """
        if self.anomaly_map is None or self.image.dtype != torch.uint8:
            raise ConfigError("Only a scored batch of uint8 images can be drawn; take what Engine.predict returns.")
        maps = self.anomaly_map[:, 0].cpu().numpy()
        middle = map_middle(self.thresholds, maps.max((1, 2)))
        masks = [None] * len(maps) if self.gt_mask is None else list(self.gt_mask.cpu().numpy())
        rows = [
            visualize(np.asarray(image, np.uint8), one, middle, mask)
            for image, one, mask in zip(self.image.cpu().numpy(), maps, masks, strict=True)
        ]
        gap = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
        return np.concatenate([part for row in rows for part in (gap, row)][1:])

    def save(self, path: str | Path) -> Path:
        """Write what ``plot`` draws; the ending says the format, and the folders above are made.

        Raises:
            ConfigError: as ``plot``, or the picture cannot be written.
        """
        write_image(Path(path), self.plot())
        return Path(path)


def _of_one(place: int, value: Any) -> Any:
    return value[place : place + 1] if isinstance(value, Tensor | tuple) else value
