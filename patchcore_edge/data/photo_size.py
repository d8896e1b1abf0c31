"""The model's input size that suits some photos: their shape, and as many of their pixels as are worth their time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
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
_BENT = 1.1
_SQUEEZED = 1.5
"""A third of one side is lost against the other."""
_NAMED = 3


@dataclass(frozen=True)
class PhotoSizes:
    """Heights and widths of some photos.

    Attributes:
        height, width: medians, in pixels.
        one_shape: whether nearly all have the medians' shape.
        sizes: heights and widths of those that were looked at.
    """

    height: int
    width: int
    one_shape: bool
    sizes: tuple[tuple[int, int], ...] = field(default=(), compare=False)

    def input_size(self, side: int, step: int) -> tuple[int, int]:
        """Height and width of about ``side`` x ``side`` pixels, in the photos' shape; multiples of ``step``.

        Where rounding would bend a long shape by more than a tenth, the size near by that bends it least.
        """
        ratio = self.width / self.height if self.one_shape else 1.0
        height, width = (max(round(pixels / step), 2) * step for pixels in (side / ratio**0.5, side * ratio**0.5))
        if _bent(height, width, ratio) <= _BENT:
            return height, width
        least = max(2, int(side / ratio**0.5 / step / 2)), max(2, int(side * ratio**0.5 / step / 2))
        near = [
            (rows * step, columns * step)
            for rows in range(least[0], 4 * least[0] + 4)
            for columns in range(least[1], 4 * least[1] + 4)
        ]
        return min(
            near, key=lambda one: abs(math.log(one[0] * one[1] / side**2)) + 4 * math.log(_bent(one[0], one[1], ratio))
        )

    def __str__(self) -> str:
        return f"{self.width}x{self.height} pixels" if self.one_shape else f"of several shapes: {self._usual}"

    def squeezed(self, size: tuple[int, int]) -> int:
        """How many of those looked at lose more than a third of one side against the other at a model's input size."""
        height, width = size
        return sum(_bent(height, width, photo[1] / photo[0]) > _SQUEEZED for photo in self.sizes)

    @property
    def _usual(self) -> str:
        """The sizes that come most often, of those looked at."""
        counted = Counter(self.sizes).most_common(_NAMED)
        rest = len(set(self.sizes)) - len(counted)
        several = len(self.sizes) > len(set(self.sizes))
        named = ", ".join(
            f"{count} of {width}x{height}" if several else f"{width}x{height}" for (height, width), count in counted
        )
        return f"{named} and {rest} sizes more" if rest else named

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
    sizes = tuple((int(height), int(width)) for height, width in found)
    return PhotoSizes(int(np.median(heights)), int(np.median(widths)), spread <= _STRETCHED, sizes)


def _bent(height: int, width: int, ratio: float) -> float:
    """How many times farther than a photo's is a size's width from its height, or nearer: 1 where the shape is kept."""
    share = width / height / ratio
    return max(share, 1 / share)
