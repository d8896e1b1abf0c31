"""How much of a picture is white noise: a part of the frame that is nothing but noise may have the part's own grey.

White noise loses three quarters of its differences' energy each time a picture is halved, and pictures of things next
to none. A backdrop is noise too, of the sensor: how strong, the good images say.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .resize import Image

__all__ = ["noise_level"]

_TILES, _LEAST_TILES = 8, 8
"""Tiles along a side, and how many of them have to be noise: an eighth of the picture."""
_LEAST_SIDE = 128
_HALVED = 2
_LEAST_FALL = 1.0
"""As a power of two, of energy from one halving to the next; 2 in white noise."""


def noise_level(grey: Image) -> float:
    """Standard deviation, in grey levels, of the white noise that an eighth of the picture has at least.

    0 where less than that is like noise, and of pictures with a side below 128 pixels, of which it cannot be told.

    Args:
        grey: HxW.
    """
    if min(grey.shape) < _LEAST_SIDE:
        return 0.0
    level: NDArray[np.float32] = grey.astype(np.float32)
    energies = [_energies(level)]
    for _ in range(_HALVED):
        half = (level.shape[1] // 2, level.shape[0] // 2)
        level = np.asarray(cv2.resize(level, half, interpolation=cv2.INTER_AREA), np.float32)
        energies.append(_energies(level))
    logs = np.log2(np.array(energies) + 1e-3)
    is_noise = (logs[:-1] - logs[1:] > _LEAST_FALL).all(axis=0)
    # Of noise with variance 1 the differences between neighbours, across and down, have 4.
    deviations = np.sort(np.sqrt(np.where(is_noise, energies[0], 0) / 4))
    return float(deviations[-_LEAST_TILES])


def _energies(level: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean squared difference between neighbours, across and down, of each tile."""
    across, down = level[:-1, 1:] - level[:-1, :-1], level[1:, :-1] - level[:-1, :-1]
    squared = across * across + down * down
    return np.asarray(cv2.resize(squared, (_TILES, _TILES), interpolation=cv2.INTER_AREA), np.float32).ravel()
