"""Where exact distances are needed when the smooth map's maximum is the score."""

from __future__ import annotations

from torch import Tensor

from patchcore_edge.models import PatchcoreModel
from patchcore_edge.models.upsampling import middles, upsampling
from patchcore_edge_runtime.bundle.recipe import ScoreRule

__all__ = ["peak_smoothing"]


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
        axes.append(upsampling(model.anomaly_map_generator, patches, pixels)[middles(patches, pixels)])
    return axes[0], axes[1].T.contiguous()
