"""The model's input size that suits some photos: their shape, and as many of their pixels as are worth their time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.files import read_image

from .evenly_spaced import evenly_chosen

__all__ = ["PhotoSizes", "photo_sizes"]

_LOOKED_AT = 32
_LEAST_SIDE, _MOST_SIDE = 256, 384
"""Pixels: 384 takes 2.25 times the work of 256."""
_STRETCHED = 1.25
"""Shapes that differ by more are no one shape: then the model's input is square."""


@dataclass(frozen=True)
class PhotoSizes:
    """Heights and widths of some photos.

    Attributes:
        height, width: medians, in pixels.
        one_shape: whether nearly all have the medians' shape.
    """

    height: int
    width: int
    one_shape: bool

    def input_size(self, side: int, step: int) -> tuple[int, int]:
        """Height and width of about ``side`` x ``side`` pixels, in the photos' shape; multiples of ``step``."""
        ratio = self.width / self.height if self.one_shape else 1.0
        height, width = (max(round(pixels / step), 2) * step for pixels in (side / ratio**0.5, side * ratio**0.5))
        return height, width

    def __str__(self) -> str:
        return f"{self.width}x{self.height} pixels" if self.one_shape else "of several shapes"

    @property
    def side(self) -> int:
        """Of a square with as many pixels as a photo has."""
        return int(math.sqrt(self.height * self.width))

    @property
    def default_side(self) -> int:
        """Half as many pixels along each side as the photos have: their optics and their compression spread the finest
        detail over two. Within what backbones are used to and what a frame may cost where nobody says.
        """
        return min(max(self.side // 2, _LEAST_SIDE), _MOST_SIDE)


def photo_sizes(paths: Sequence[Path]) -> PhotoSizes | None:
    """Of up to 32 of some files, evenly chosen; None where none of them can be read."""
    found = []
    for path in evenly_chosen(list(paths), _LOOKED_AT):
        try:
            found.append(read_image(path).shape[:2])
        except DataError:
            continue  # whoever uses the file says so
    if not found:
        return None
    heights, widths = np.array(found, np.float64).T
    ratios = widths / heights
    middle = float(np.median(ratios))
    spread = max(float(np.quantile(ratios, 0.9)) / middle, middle / float(np.quantile(ratios, 0.1)))
    return PhotoSizes(int(np.median(heights)), int(np.median(widths)), spread <= _STRETCHED)
