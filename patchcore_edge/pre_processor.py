"""The host's end of preprocessing: the runtime's function, then what the graph does inside."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from patchcore_edge_runtime.preprocess import PreprocessSpec, preprocess

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "PreProcessor"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class PreProcessor(nn.Module):
    """Frames → what the backbone takes.

    Args:
        spec: size and crop.
        mean, std: of the RGB channels on [0, 1] that the backbone was trained with.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        spec: PreprocessSpec,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("mean", 255 * torch.tensor(mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, frames: Tensor | NDArray[Any]) -> Tensor:
        """Normalise.

        Args:
            frames: ``[N,H,W,3]`` uint8 BGR tensor of the model's size, or one frame as OpenCV gives it.

        Returns:
            ``[N,3,H,W]`` float32 RGB, normalised.
        """
        if not isinstance(frames, Tensor):
            frames = torch.from_numpy(preprocess(frames, self.spec))[None].to(self.mean.device)
        rgb = frames.permute(0, 3, 1, 2).flip(1).float()
        return (rgb - self.mean) / self.std
