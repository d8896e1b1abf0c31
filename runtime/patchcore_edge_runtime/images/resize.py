"""Resizing by OpenCV, on several cores where that pays, and into memory that is already there.

OpenCV's area averaging runs on one core for results below 65,536 pixels, which a model's input is; of a 4K frame it
takes longer than many a network. A strip of the result is made from a strip of the frame alone wherever both begin and
end on whole rows, so the strips can be made side by side, and give the very same pixels.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Image", "resize", "strips"]

Image = NDArray[np.uint8]
_LARGE = 1 << 20
"""Pixels of a frame from which on several cores are used: below, it takes a millisecond or less."""
_MAX_STRIPS = 8


def resize(image: Image, size: tuple[int, int], out: Image | None = None) -> Image:
    """Resize an image: area averaging when it gets smaller, bilinear otherwise.

    Args:
        image: HxW or HxWxC uint8.
        size: height and width to reach.
        out: C-contiguous, of ``size`` and the image's channels; a new array when absent.

    Returns:
        ``out``, or the new array.
    """
    out = np.empty((*size, *image.shape[2:]), np.uint8) if out is None else out
    parts = strips(image.shape[:2], size)
    if len(parts) > 1:
        jobs = [_pool(os.getpid()).submit(_resize_strip, image, out, part) for part in parts[1:]]
        _resize_strip(image, out, parts[0])
        for job in jobs:
            job.result()
        return out
    shrinks = image.shape[0] * image.shape[1] > size[0] * size[1]
    cv2.resize(image, size[::-1], dst=out, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return out


def strips(source: tuple[int, ...], target: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """How an image of ``source`` height and width is cut when it is shrunk to ``target``, for OpenCV's threads.

    Returns:
        first and last row (exclusive) in the source, then in the target, of each strip; a single one where the rows do
        not meet, the image is small, or a side gets longer.
    """
    rows, count = math.gcd(source[0], target[0]), 1
    if source[0] * source[1] >= _LARGE and source[0] >= target[0] and source[1] >= target[1]:
        count = max(1, min(cv2.getNumThreads(), _MAX_STRIPS, rows))
    cuts = [rows * part // count for part in range(count + 1)]
    above, below = source[0] // rows, target[0] // rows
    return [(a * above, b * above, a * below, b * below) for a, b in pairwise(cuts)]


def _resize_strip(image: Image, out: Image, strip: tuple[int, int, int, int]) -> None:
    top, bottom, first, last = strip
    cv2.resize(image[top:bottom], (out.shape[1], last - first), dst=out[first:last], interpolation=cv2.INTER_AREA)


@lru_cache(maxsize=1)
def _pool(_process: int) -> ThreadPoolExecutor:
    # By process: threads do not survive a fork.
    return ThreadPoolExecutor(_MAX_STRIPS - 1, thread_name_prefix="resize")
