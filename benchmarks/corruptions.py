"""What happens to a picture between a good camera and a bad day: light, focus, noise, compression, place.

The first five are those of Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (ICLR 2019, https://arxiv.org/abs/1903.12261), with the values of severities 1 to 3 that its authors
published for ImageNet-C (https://github.com/hendrycks/robustness) and that the package ``imagecorruptions`` 1.1.2 has
too. That package is from 2020: it needs ``pkg_resources``, which setuptools no longer has, and two of its fifteen
kinds fail with today's NumPy and scikit-image. So they are written here once more; the tests hold values of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Change", "conditions"]

_Frame = NDArray[np.uint8]
Change = Callable[[_Frame, np.random.Generator], _Frame]
"""HxW or HxWx3 (BGR) uint8 → the same shape."""

BRIGHTNESS = (0.1, 0.2, 0.3)
CONTRAST = (0.4, 0.3, 0.2)
DEFOCUS = ((3, 0.1), (4, 0.5), (6, 0.5))
NOISE = (0.08, 0.12, 0.18)
JPEG = (25, 18, 15)
SHIFTS = (0.02, 0.05, 0.1)
TURNS = (2, 5, 10)


def conditions() -> Iterator[tuple[str, Change]]:
    """All of them by name, the untouched picture first."""
    yield "as they are", lambda frame, _: frame
    published: dict[str, list[Change]] = {
        "brightness": [partial(brightness, value) for value in BRIGHTNESS],
        "contrast": [partial(contrast, value) for value in CONTRAST],
        "defocus": [partial(defocus, value) for value in DEFOCUS],
        "Gaussian noise": [partial(noise, value) for value in NOISE],
        "JPEG": [partial(jpeg, value) for value in JPEG],
    }
    for name, changes in published.items():
        yield from ((f"{name} {severity}", change) for severity, change in enumerate(changes, 1))
    for share in SHIFTS:
        yield f"shifted by {share:.0%}", partial(shift, share)
    for degrees in TURNS:
        yield f"turned by {degrees}°", partial(turn, degrees)


def brightness(added: float, frame: _Frame, _: np.random.Generator) -> _Frame:
    """Raise the value of HSV by a share of full scale; a grey picture's levels."""
    pixels = frame / 255
    value = pixels if frame.ndim == 2 else pixels.max(2, keepdims=True)
    raised = np.clip(value + added, 0, 1)
    shares = np.divide(pixels, value, out=np.ones_like(pixels), where=value > 0)
    return _levels(shares * raised)


def contrast(share: float, frame: _Frame, _: np.random.Generator) -> _Frame:
    """Keep a share of each level's distance from its channel's mean."""
    pixels = frame / 255
    means = pixels.mean(axis=(0, 1), keepdims=True)
    return _levels((pixels - means) * share + means)


def defocus(lens: tuple[int, float], frame: _Frame, _: np.random.Generator) -> _Frame:
    """Blur by a disc: its radius in pixels, and the sigma that softens its edge."""
    radius, sigma = lens
    side = np.arange(-8, 9)
    disc = (side[:, None] ** 2 + side**2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(disc / disc.sum(), (3, 3), sigma)
    return _levels(cv2.filter2D(frame / 255, -1, kernel))


def noise(deviation: float, frame: _Frame, chance: np.random.Generator) -> _Frame:
    """Add normal noise, its standard deviation as a share of full scale; a grey picture stays grey."""
    return _levels(frame / 255 + chance.normal(size=frame.shape, scale=deviation))


def jpeg(quality: int, frame: _Frame, _: np.random.Generator) -> _Frame:
    """Compress and decode."""
    data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8)


def shift(share: float, frame: _Frame, chance: np.random.Generator) -> _Frame:
    """Move by a share of the side: left, right, up or down by chance."""
    height, width = frame.shape[:2]
    x, y = ((share * width, 0.0), (-share * width, 0.0), (0.0, share * height), (0.0, -share * height))[
        int(chance.integers(4))
    ]
    return _warped(frame, np.array([[1, 0, x], [0, 1, y]]), chance)


def turn(degrees: float, frame: _Frame, chance: np.random.Generator) -> _Frame:
    """Turn about the centre, either way by chance."""
    height, width = frame.shape[:2]
    angle = degrees if chance.integers(2) else -degrees
    return _warped(frame, cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1), chance)


def _warped(frame: _Frame, matrix: NDArray[Any], chance: np.random.Generator) -> _Frame:
    # Mirrored at the border: what comes into view looks like the part, so that its place alone has changed. With noise
    # of its own, or it would be refused as a copy, which a camera's picture is not.
    size = (frame.shape[1], frame.shape[0])
    warped = cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    came: NDArray[np.bool_] = cv2.warpAffine(np.ones(frame.shape[:2], np.uint8), matrix, size) == 0
    noise = chance.integers(-1, 2, frame.shape) * (came if frame.ndim == 2 else came[..., None])
    return np.asarray(np.clip(warped.astype(np.int64) + noise, 0, 255), np.uint8)


def _levels(pixels: NDArray[Any]) -> _Frame:
    # Cut off, not rounded, as the published code does it.
    return np.asarray(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
