"""From patch distances to the map as products with small matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from .anomaly_map import AnomalyMapGenerator

__all__ = ["middles", "upsampling"]


def upsampling(generator: AnomalyMapGenerator, patches: int, pixels: int) -> Tensor:
    """``[pixels, patches]``: upsampling and blur along one axis as a matrix.

    Both are linear and act on rows and columns apart, so two small products replace a resize and two wide
    convolutions. Its columns are the map generator's answers to single patches.
    """
    with torch.inference_mode():
        unit = torch.eye(patches).reshape(patches, 1, patches, 1).expand(-1, -1, -1, 2)
        answers: Tensor = generator(unit, (pixels, 2))
        return answers[:, 0, :, 0].T.clone()


def middles(patches: int, pixels: int) -> Tensor:
    """``[patches]`` int64: the pixel in the middle of each patch."""
    return ((torch.arange(patches) + 0.5) * pixels / patches).long().clamp_max(pixels - 1)
