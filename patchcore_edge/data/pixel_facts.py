"""What the pixels of some photos are: the bits that 16-bit files use, and whether any is transparent.

Cameras put 10, 12 or 14 bits into files of 16. How many is nobody's to guess from one frame, which may be dark; of all
training images together the largest value tells. Files of 8 opaque bits are known by their first bytes and not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.files import read_image
from patchcore_edge_runtime.images.preprocess import FULL_DEPTH, visible
from patchcore_edge_runtime.images.transparency import is_plain_8_bit

__all__ = ["PixelFacts", "pixel_facts"]

_USUAL_DEPTHS = (8, 10, 12, 14)
_HEAD = 4096


@dataclass(frozen=True)
class PixelFacts:
    """Of n images.

    Attributes:
        images: n, those that can be read.
        deep: how many have 16 bits a sample.
        largest: value in these.
        transparent: how many have pixels that are not opaque.
    """

    images: int = 0
    deep: int = 0
    largest: int = 0
    transparent: int = 0

    def __add__(self, other: PixelFacts) -> PixelFacts:
        return PixelFacts(
            self.images + other.images,
            self.deep + other.deep,
            max(self.largest, other.largest),
            self.transparent + other.transparent,
        )

    @property
    def bit_depth(self) -> int | None:
        """How many of 16 bits are used, a usual number; None where no image has 16.

        Data that fill the 16 bits from above, as some cameras' 12 bits do, use all of them.
        """
        if not self.deep:
            return None
        return next((bits for bits in _USUAL_DEPTHS if self.largest < 1 << bits), FULL_DEPTH)

    def sentences(self, bit_depth: int | None) -> list[str]:
        """What a person should know, with the depth that is used."""
        said = []
        if self.deep:
            used = bit_depth or FULL_DEPTH
            rest = f"; the other {self.images - self.deep} have 8 bits" if self.deep < self.images else ""
            beyond = ", and what exceeds them is an ERROR" if used < FULL_DEPTH else ""
            said.append(
                f"{self.deep} of {self.images} images have 16 bits a pixel (largest value {self.largest:,}{rest}): "
                f"{used} bits are taken, 0 to {(1 << used) - 1:,}{beyond} (--bit-depth changes it)."
            )
        if self.transparent:
            said.append(f"{self.transparent} of {self.images} images have transparent pixels; they are laid on black.")
        return said


def pixel_facts(paths: Sequence[Path]) -> PixelFacts:
    """Of some image files; those that cannot be read are left out, which whoever uses them says."""
    with ThreadPoolExecutor() as threads:
        return reduce(PixelFacts.__add__, threads.map(_facts_of, paths), PixelFacts())


def _facts_of(path: Path) -> PixelFacts:
    try:
        with path.open("rb") as file:
            if is_plain_8_bit(np.frombuffer(file.read(_HEAD), np.uint8)):
                return PixelFacts(images=1)
        image = read_image(path)
    except (OSError, DataError):
        return PixelFacts()
    transparent = int(image.ndim == 3 and image.shape[2] == 4)
    if image.dtype != np.uint16:
        return PixelFacts(images=1, transparent=transparent)
    return PixelFacts(1, 1, int(visible(image).max()), transparent)
