"""Further pictures of a good image, as a tired lamp, a loose fixture or a mirrored part would have given them.

PatchCore calls good what it has seen: of few images the bank knows one light and one place. How far the copies go is
what a line does by itself, not what it could do at most, because all that is learnt as good can no longer be a defect.
"""

from __future__ import annotations

import zlib
from collections.abc import Container
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchcore_edge_runtime.bundle.recipe import Augmentation, AugmentOptions
from patchcore_edge_runtime.errors import FrameError
from patchcore_edge_runtime.images.preprocess import Image

__all__ = ["Augmenter", "augmented"]

BRIGHTNESS = 0.15
"""Of the light: half of what an LED has lost when it counts as worn (L70). As much more, for a lamp that is changed."""
CONTRAST = 0.15
"""Of the greys' distance from the picture's mean: haze on a window, or what a camera's gain and offset make of it."""
SHIFT = 0.03
"""Of the side: a cell of the patches of a layer with stride 8 at 256 px. Beyond it the same cells come again."""
TURN = 3.0
"""Degrees: at the picture's edge as much as the shift, 3 % of the side."""


@dataclass(frozen=True)
class Augmenter:
    """Images, each followed by its copies.

    Args:
        options: what the copies vary; there are none without.
        seed: of the copies.
    """

    options: AugmentOptions | None
    seed: int = 0

    @property
    def pictures(self) -> int:
        """Of each image, itself included."""
        return 1 + (0 if self.options is None else self.options.made)

    def __call__(self, images: Tensor) -> Tensor:
        """``[N,H,W,3]`` uint8 BGR → ``[N * pictures,H,W,3]``, on the same device.

        Raises:
            FrameError: there are copies to make, and the images are anything else.
        """
        if self.options is None:
            return images
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise FrameError(f"Augmentation takes uint8 images [N,H,W,3], not {images.dtype} {tuple(images.shape)}.")
        given = [np.asarray(image, np.uint8) for image in images.cpu().numpy()]
        made = [one for image in given for one in (image, *augmented(image, self.options, self.seed))]
        return torch.from_numpy(np.stack(made)).to(images.device)


def augmented(image: Image, options: AugmentOptions, seed: int = 0) -> list[Image]:
    """``options.made`` copies of an image; the same for the same pixels, whatever other images there are.

    Args:
        image: HxWx3 uint8 BGR.
        options: what the copies vary.
        seed: of how much.
    """
    rng = np.random.default_rng([seed, zlib.crc32(image.tobytes())])
    shares = _spread_shares(rng, options.made, 5)
    return [_copy(image, options, number, share) for number, share in enumerate(shares, 1)]


def _spread_shares(rng: np.random.Generator, count: int, kinds: int) -> NDArray[np.float64]:
    """``[count, kinds]`` in [-1, 1): a Latin hypercube, so that three copies are not dark all three."""
    strata = rng.permuted(np.tile(np.arange(count), (kinds, 1)), axis=1).T
    return 2 * (strata + rng.random((count, kinds))) / count - 1


def _copy(image: Image, options: AugmentOptions, number: int, shares: NDArray[np.float64]) -> Image:
    brightness, contrast, right, down, turn = (float(share) for share in shares)
    kinds = options.kinds
    image = _moved(image, kinds, right, down, turn)
    image = _lit(image, kinds, brightness, contrast)
    # In turn and not by chance: the image itself is the one that is not flipped.
    flipped = [flip for place, flip in enumerate(options.flips) if number >> place & 1]
    if Augmentation.FLIP_H in flipped:
        image = image[:, ::-1]
    if Augmentation.FLIP_V in flipped:
        image = image[::-1]
    return np.ascontiguousarray(image)


def _moved(image: Image, kinds: Container[Augmentation], right: float, down: float, turn: float) -> Image:
    """Shifted and turned in one interpolation."""
    shift = SHIFT if Augmentation.SHIFT in kinds else 0.0
    degrees = TURN * turn if Augmentation.TURN in kinds else 0.0
    if not (shift or degrees):
        return image
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    matrix[:, 2] += shift * right * width, shift * down * height
    # Cubic, or what is learnt is blurred; mirrored at the border, or a black wedge is learnt as good.
    moved = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.uint8)


def _lit(image: Image, kinds: Container[Augmentation], brightness: float, contrast: float) -> Image:
    """Brighter or darker, in more or less contrast, rounded once."""
    gain = 1 + BRIGHTNESS * brightness * (Augmentation.BRIGHTNESS in kinds)
    stretch = 1 + CONTRAST * contrast * (Augmentation.CONTRAST in kinds)
    if gain == stretch == 1:
        return image
    mean = float(image.mean())
    table = gain * ((np.arange(256) - mean) * stretch + mean)
    return np.asarray(np.clip(np.rint(table), 0, 255).astype(np.uint8)[image])
