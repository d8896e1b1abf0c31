"""Defects made on good images: what a search must get right is anomalies, and those are rarely at hand."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from patchcore_edge_runtime.preprocess import Image

__all__ = ["synthetic_defects"]


def synthetic_defects(images: Sequence[Image], seed: int = 0) -> list[Image]:
    """One defective copy of each image; the same for the same images and seed.

    By turns a patch cut from elsewhere and turned (Li et al. 2021, CutPaste), a scratch, and a blob.

    Args:
        images: HxWx3 uint8 BGR.
        seed: of the generator that places the defects.

    Returns:
        as many HxWx3 uint8 BGR images.
    """
    rng = np.random.default_rng(seed)
    makers = (_cut_paste, _scratch, _blob)
    return [makers[place % len(makers)](image.copy(), rng) for place, image in enumerate(images)]


def _cut_paste(image: Image, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    side = max(4, int(min(height, width) * rng.uniform(0.08, 0.25)))
    y, x, to_y, to_x = (int(rng.integers(0, limit - side + 1)) for limit in (height, width, height, width))
    piece = np.rot90(image[y : y + side, x : x + side], int(rng.integers(1, 4)))
    image[to_y : to_y + side, to_x : to_x + side] = np.clip(piece * rng.uniform(0.6, 1.4), 0, 255).astype(np.uint8)
    return image


def _scratch(image: Image, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    start = rng.uniform(0.1, 0.9, 2) * (width, height)
    steps = rng.normal(0, 0.06 * min(height, width), (5, 2)).cumsum(0)
    points = np.vstack([start, start + steps]).astype(np.int32)
    shade = int(rng.choice([0, 40, 215, 255]))
    cv2.polylines(image, [points], False, (shade, shade, shade), max(1, min(height, width) // 100), cv2.LINE_AA)
    return image


def _blob(image: Image, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.float32)
    middle = (int(rng.uniform(0.1, 0.9) * width), int(rng.uniform(0.1, 0.9) * height))
    axes = tuple(max(2, int(v * min(height, width))) for v in rng.uniform(0.02, 0.1, 2))
    cv2.ellipse(mask, middle, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    soft = np.asarray(cv2.GaussianBlur(mask, (0, 0), 1.0))
    change = float(rng.choice([-1.0, 1.0]) * rng.uniform(30, 120))
    return np.asarray(np.clip(image + change * soft[..., None], 0, 255), np.uint8)
