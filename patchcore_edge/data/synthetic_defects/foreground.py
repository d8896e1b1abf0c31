"""Where the part is, without labels: what differs from the picture's border."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.images.preprocess import Image

from .site import mean_channel

__all__ = ["part_of"]

_SIDE = 64
"""The part is sought in a picture of at most this many pixels a side: its outline matters, not its detail."""
_FAR = 4.0
"""So many robust deviations from the border's median is not background."""
_LEAST_DEVIATION = 4.0
"""Grey levels; a clean background has hardly any noise of its own."""
_SHARES = (0.04, 0.95)
"""Of the picture; less is dirt on a texture, more is a picture that is all part."""
_BORDER_SHARE = 0.5
"""Of the share inside. Where the border has more, what was found is uneven light or no border shows background."""


def part_of(image: Image) -> NDArray[np.bool_]:
    """Pixels of the part; all of them where no part stands out from a background.

    Compared with the border's median are the colour and how rough it is, in units of the border's own spread.

    Args:
        image: HxWx3 uint8.

    Returns:
        HxW bool, never empty.
    """
    height, width = image.shape[:2]
    scale = max(height, width) / _SIDE
    size = (max(4, round(width / scale)), max(4, round(height / scale))) if scale > 1 else (width, height)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    deviation = np.maximum(_deviation(small), _deviation(_roughness(small)))
    found = _solid(deviation > _FAR)
    if not _stands_out(found, deviation):
        return np.ones((height, width), np.bool_)
    return cv2.resize(found.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).astype(np.bool_)


def _stands_out(found: NDArray[np.bool_], deviation: NDArray[np.float32]) -> bool:
    """Whether it is of a part's size, away from the border, and has an outline: shading has none."""
    share = found.mean()
    if not (_SHARES[0] < share < _SHARES[1] and found[_ring(found.shape)].mean() < _BORDER_SHARE * share):
        return False
    whole, kernel = found.astype(np.uint8), np.ones((5, 5), np.uint8)
    within = found & (cv2.erode(whole, kernel, borderValue=1) == 0)
    around = ~found & (cv2.dilate(whole, kernel) > 0)
    return float(np.median(deviation[within])) - float(np.median(deviation[around])) > _FAR


def _deviation(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[h,w]``: the largest of ``[h,w,C]``'s deviations from the border, in the border's own."""
    border = values[_ring(values.shape[:2])]
    middle = np.median(border, axis=0)
    spread = 1.4826 * np.median(np.abs(border - middle), axis=0)
    return np.asarray((np.abs(values - middle) / np.maximum(spread, _LEAST_DEVIATION)).max(2), np.float32)


def _roughness(small: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[h,w,1]``: standard deviation around each pixel."""
    grey = mean_channel(small)
    mean, square = (cv2.blur(values, (5, 5)) for values in (grey, grey * grey))
    return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0)), np.float32)[..., None]


def _ring(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    ring = np.ones(shape, np.bool_)
    ring[2:-2, 2:-2] = False
    return ring


def _solid(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without specks and holes."""
    kernel = np.ones((3, 3), np.uint8)
    clean = cv2.morphologyEx(cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_OPEN, kernel), cv2.MORPH_CLOSE, kernel)
    contours, _ = cv2.findContours(clean, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros_like(clean), contours, -1, 1, cv2.FILLED).astype(np.bool_)
