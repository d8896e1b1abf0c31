"""Layers of different resolution on one grid of patches."""

from __future__ import annotations

import warnings

import torch.nn.functional as F
from torch import Tensor

from patchcore_edge_runtime.errors import ConfigError

__all__ = ["on_grid", "plane", "stride_grid"]


def plane(features: Tensor) -> tuple[int, int]:
    """Height and width of ``[N,C,H,W]``, as plain numbers also while a graph is traced: a graph's sizes are fixed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Converting a tensor to a Python integer")
        return int(features.shape[-2]), int(features.shape[-1])


def stride_grid(image_size: tuple[int, int], stride: int, grids: dict[str, tuple[int, int]]) -> tuple[int, int]:
    """Rows and columns of patches that are ``stride`` pixels apart.

    Args:
        image_size: height and width in pixels.
        stride: in pixels of the model's input.
        grids: rows and columns of each layer.

    Raises:
        ConfigError: a finer layer's cells do not fill the patches.
    """
    grid = (-(-image_size[0] // stride), -(-image_size[1] // stride))
    for layer, own in grids.items():
        for cells, patches, pixels in zip(own, grid, image_size, strict=True):
            if cells > patches and -(-cells // -(-cells // patches)) != patches:
                raise ConfigError(
                    f"Patches {stride} pixels apart cannot be averaged from {layer}, which has a cell every "
                    f"{pixels / cells:.3g} pixels; give a --patch-stride that is a multiple of it."
                )
    return grid


def on_grid(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """``[N,C,h,w]`` features → ``[N,C,*grid]``: finer ones averaged, coarser ones interpolated bilinearly."""
    height, width = plane(features)
    if height > grid[0] or width > grid[1]:
        factors = (max(1, -(-height // grid[0])), max(1, -(-width // grid[1])))
        # A last cell that is not full counts what there is of it.
        partial = bool(height % factors[0] or width % factors[1])
        features = F.avg_pool2d(features, factors, factors, ceil_mode=partial, count_include_pad=False)
    if plane(features) == grid:
        return features
    return F.interpolate(features, size=grid, mode="bilinear", align_corners=False)
