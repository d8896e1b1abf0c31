"""From patch scores to a smooth map of the image's size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["AnomalyMapGenerator"]


class AnomalyMapGenerator(nn.Module):
    """Upsamples patch scores bilinearly and blurs them with a Gaussian (Roth et al. 2022, section 3.3).

    Args:
        sigma: standard deviation of the Gaussian in pixels of the image; the kernel reaches 4 sigma.
    """

    kernel: Tensor

    def __init__(self, sigma: float = 4.0) -> None:
        super().__init__()
        radius = int(4 * sigma + 0.5)
        offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
        kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
        self.register_buffer("kernel", (kernel / kernel.sum()).float(), persistent=False)

    def forward(self, patch_scores: Tensor, image_size: tuple[int, int] | None = None) -> Tensor:
        """Map of raw scores.

        Args:
            patch_scores: ``[N,1,h,w]`` distances of the patches.
            image_size: height and width to reach; the grid of patches itself when absent.

        Returns:
            ``[N,1,H,W]``, in the unit of the patch scores.
        """
        if image_size is not None:
            patch_scores = F.interpolate(patch_scores, size=image_size, mode="bilinear", align_corners=False)
        return self.blur(patch_scores)

    def blur(self, scores: Tensor) -> Tensor:
        """Gaussian blur of ``[N,1,H,W]``; the border is mirrored."""
        radius = len(self.kernel) // 2
        for axis, shape in ((2, (1, 1, -1, 1)), (3, (1, 1, 1, -1))):
            pads = (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0)
            scores = F.conv2d(_mirror(scores, pads), self.kernel.reshape(shape))
        return scores


def _mirror(scores: Tensor, pads: tuple[int, int, int, int]) -> Tensor:
    # torch mirrors once and no further; an image smaller than the kernel is mirrored again and again.
    if min(scores.shape[2:]) == 1:  # a single row or column has nothing to mirror but itself
        rows, columns = (pads[2:] if scores.shape[2] == 1 else (0, 0)), (pads[:2] if scores.shape[3] == 1 else (0, 0))
        scores = F.pad(scores, (*columns, *rows), mode="replicate")
        pads = (pads[0] - columns[0], pads[1] - columns[1], pads[2] - rows[0], pads[3] - rows[1])
    while max(pads) > 0:
        limit_x, limit_y = scores.shape[3] - 1, scores.shape[2] - 1
        now = (min(pads[0], limit_x), min(pads[1], limit_x), min(pads[2], limit_y), min(pads[3], limit_y))
        scores = F.pad(scores, now, mode="reflect")
        pads = (pads[0] - now[0], pads[1] - now[1], pads[2] - now[2], pads[3] - now[3])
    return scores
