"""From patch distances to the map as products with small matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from patchcore_edge.models import AnomalyMapGenerator, PatchcoreModel
from patchcore_edge_runtime.bundle.recipe import ScoreRule

__all__ = ["peak_smoothing", "upsampling"]


def upsampling(generator: AnomalyMapGenerator, patches: int, pixels: int) -> Tensor:
    """``[pixels, patches]``: upsampling and blur along one axis as a matrix.

    Both are linear and act on rows and columns apart, so two small products replace a resize and two wide
    convolutions. Its columns are the map generator's answers to single patches.
    """
    with torch.inference_mode():
        unit = torch.eye(patches).reshape(patches, 1, patches, 1).expand(-1, -1, -1, 2)
        answers: Tensor = generator(unit, (pixels, 2))
        return answers[:, 0, :, 0].T.clone()


def peak_smoothing(
    model: PatchcoreModel, grid: tuple[int, int], image_size: tuple[int, int]
) -> tuple[Tensor, Tensor] | None:
    """``[h, h]`` and ``[w, w]``: the smooth map at the patches' middles, of the distances of the patches.

    Where the map's maximum is the score, the patches around it need exact distances, and not those that are largest by
    themselves. None for other rules.

    Args:
        model: fitted.
        grid: h and w.
        image_size: height and width of the map.
    """
    if model.score is not ScoreRule.MAP_MAX:
        return None
    axes = []
    for patches, pixels in zip(grid, image_size, strict=True):
        middles = ((torch.arange(patches) + 0.5) * pixels / patches).long().clamp_max(pixels - 1)
        axes.append(upsampling(model.anomaly_map_generator, patches, pixels)[middles])
    return axes[0], axes[1].T.contiguous()
