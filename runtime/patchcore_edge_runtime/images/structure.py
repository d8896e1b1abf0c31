"""Is there a picture in the frame at all: what good images have in common beyond brightness and sharpness.

Sensor noise, a picture whose rows come twice, and channels that do not lie on each other are sharp and bright enough,
and a model may call them good. Six kinds of numbers tell them apart; none of them looks at what the picture shows, so
that a defect, and a part that is not there, stay the model's to judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from .noise import noise_level
from .resize import Image

__all__ = ["Structure", "StructureLimits", "learn_structure", "measure_structure"]

_SCALES = 5
_LEAST_SIDE = 16
_NOISE_FALL = 2.0
"""By how much, as a power of two, the energy of white noise falls each time the picture is halved."""
_NOISE_SHARE = 0.75
_COARSE_SHARE = 0.25
_REPEAT_SHARE = 0.4
_TINT_MARGIN = 24.0
_SPREAD_MARGIN = 2.5
_NOISE_FACTOR, _NOISE_LEAST = 2.0, 2.5
_GRID = 8
_WINDOW, _LAGS = 5, 16
"""Repeated rows count where they make a fifth of the picture, a sixteenth of it or more apart."""
_PROBES, _AROUND = 16, 9
_LEAST_ENERGY = 0.5
_LARGEST_SIDE = 256
_TILES = 4
_GREY, _GREY_LEAST = 0.99, 0.9
"""Correlation of channels from which on pictures count as grey, and what they must still have."""


@dataclass(frozen=True)
class Structure:
    """What a frame's picture is like.

    Attributes:
        falls: by which power of two the energy of differences between neighbours falls from each scale to the next
            coarser one; 2 in white noise, about 0 in pictures of things.
        coarse: standard deviation, in grey levels, of the picture brought to 8x8 pixels.
        repeat: squared difference between the two most similar bands of rows or of columns, each a fifth of the
            picture, as a share of what they vary by themselves; 0 where one is the other's copy or both are blank.
        channels: correlation between the edges of the colour channels, in [-1, 1]; 1 in grey pictures.
        blue, red: mean of that channel above green, in grey levels.
        spread: standard deviation of the difference that varies more, in grey levels; 0 in grey pictures.
        noise: as ``noise_level`` has it.
    """

    falls: tuple[float, ...]
    coarse: float
    repeat: float
    channels: float
    blue: float
    red: float
    spread: float = 0.0
    noise: float = 0.0


class StructureLimits(BaseModel):
    """What a frame's structure has to be like; learned from good images.

    Attributes:
        max_falls: of each scale.
        min_coarse, min_repeat, min_channels: as in ``Structure``.
        min_blue, max_blue, min_red, max_red: of the channels above green.
        max_spread: of what is above green; absent where the good images are in colour.
        max_noise: of an eighth of the picture; absent in bundles of which it was not measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_falls: tuple[float, ...] = Field(max_length=_SCALES)
    min_coarse: float = Field(ge=0, le=255)
    min_repeat: float = Field(ge=0, le=1)
    min_channels: float = Field(ge=-1, le=1)
    min_blue: float = Field(ge=-512, le=512)
    max_blue: float = Field(ge=-512, le=512)
    min_red: float = Field(ge=-512, le=512)
    max_red: float = Field(ge=-512, le=512)
    max_spread: float | None = Field(default=None, ge=0, le=512)
    max_noise: float | None = Field(default=None, ge=0, le=512)

    def reason(self, found: Structure) -> str:
        """Why a frame must not be scored, as one sentence; empty when it may be."""
        falls = zip(found.falls, self.max_falls, strict=False)
        if any(fall > limit for fall, limit in falls) or found.coarse < self.min_coarse:
            return "Noise and no picture, unlike the training images; check the lens cap, the light and the gain."
        if self.max_noise is not None and found.noise > self.max_noise:
            return "Part of the frame is noise and no picture, unlike in the training images; check camera and gain."
        if found.repeat < self.min_repeat:
            return "Part of the frame is blank or comes twice, unlike in the training images; check camera and cable."
        if found.channels < self.min_channels or (self.max_spread is not None and found.spread > self.max_spread):
            return "The colour channels do not lie on each other, unlike in the training images; check the camera."
        if not (self.min_blue <= found.blue <= self.max_blue and self.min_red <= found.red <= self.max_red):
            return (
                f"Unlike the training images in colour: blue and red are {found.blue:+.0f} and {found.red:+.0f} above "
                f"green where {self.min_blue:+.0f} to {self.max_blue:+.0f} and {self.min_red:+.0f} to "
                f"{self.max_red:+.0f} are expected; check the light, the white balance and the order of the channels."
            )
        return ""


def measure_structure(image: Image, grey: Image) -> Structure:
    """Measure a picture.

    Args:
        image: HxWx3 uint8 BGR.
        grey: HxW, the same in grey.
    """
    blue, green, red = (float(value) for value in cv2.mean(image)[:3])
    channels = [np.asarray(channel, np.uint8) for channel in cv2.split(image)]
    is_grey = all(np.array_equal(channel, channels[1]) for channel in (channels[0], channels[2]))
    height, width = (min(side, _LARGEST_SIDE) for side in grey.shape)
    small = np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return Structure(
        falls=_falls(grey),
        coarse=float(cv2.resize(grey.astype(np.float32), (_GRID, _GRID), interpolation=cv2.INTER_AREA).std()),
        repeat=min(_repeat(small), _repeat(np.ascontiguousarray(small.T))),
        channels=1.0 if is_grey else _channels(channels),
        blue=blue - green,
        red=red - green,
        spread=0.0 if is_grey else _spread(channels),
        noise=noise_level(grey),
    )


def learn_structure(seen: Sequence[Structure]) -> StructureLimits:
    """Limits from good images, with room around them.

    The room: three quarters of the way from the most noise-like good image to noise; a quarter of the weakest coarse
    structure; two fifths of the least difference between bands; half of the least correlation of the channels, 0.9 in
    grey pictures, and there 2.5 grey levels more of spread; the observed range of colour, or 24 grey levels where that
    is more, to either side; twice the noise, or 2.5 grey levels of it where that is more.
    """
    falls = np.array([one.falls for one in seen]).max(axis=0) if seen[0].falls else np.zeros(0)
    channels = min(one.channels for one in seen)
    blue, red = ([getattr(one, name) for one in seen] for name in ("blue", "red"))
    around_blue, around_red = (max(_TINT_MARGIN, max(values) - min(values)) for values in (blue, red))
    return StructureLimits(
        max_falls=tuple(float(fall) for fall in falls + _NOISE_SHARE * np.maximum(_NOISE_FALL - falls, 1.0)),
        min_coarse=_COARSE_SHARE * min(one.coarse for one in seen),
        min_repeat=_REPEAT_SHARE * min(one.repeat for one in seen),
        min_channels=_GREY_LEAST if channels > _GREY else channels / 2,
        min_blue=min(blue) - around_blue,
        max_blue=max(blue) + around_blue,
        min_red=min(red) - around_red,
        max_red=max(red) + around_red,
        max_spread=max(one.spread for one in seen) + _SPREAD_MARGIN if channels > _GREY else None,
        max_noise=max(_NOISE_LEAST, _NOISE_FACTOR * max(one.noise for one in seen)),
    )


def _falls(grey: Image) -> tuple[float, ...]:
    energies: list[float] = []
    level: NDArray[np.float32] = grey.astype(np.float32)
    while len(energies) < _SCALES and min(level.shape) >= _LEAST_SIDE:
        across, down = level[:, 1:] - level[:, :-1], level[1:] - level[:-1]
        # A thousandth of a squared grey level: of a blank picture the logarithm is finite.
        energy = cv2.norm(across, cv2.NORM_L2SQR) + cv2.norm(down, cv2.NORM_L2SQR)
        energies.append(energy / (2 * level.size) + 1e-3)
        half = (level.shape[1] // 2, level.shape[0] // 2)
        level = np.asarray(cv2.resize(level, half, interpolation=cv2.INTER_AREA), np.float32)
    logs = np.log2(energies)
    return tuple(float(fall) for fall in logs[:-1] - logs[1:])


def _repeat(grey: Image) -> float:
    """How little two bands of rows differ, as ``Structure.repeat`` has it; rows are compared by random sums of pixels.

    Such sums keep differences, those of noise too (Johnson and Lindenstrauss 1984), and are few.
    """
    height, width = grey.shape
    band, least_lag = height // _WINDOW, max(1, height // _LAGS)
    if band < 2 or height < band + least_lag:
        return 1.0
    # By ``einsum``: BLAS has threads that go on spinning, and inference needs their core next.
    sums = np.einsum("ij,kj->ik", grey.astype(np.float32) - np.float32(grey.mean()), _signs(width))
    # What is the same in all rows, as a bus bar or a shadow, says nothing of one of them.
    sums -= cv2.blur(sums, (1, _AROUND))
    energy = np.einsum("ij,ij->i", sums, sums)
    columns = np.ascontiguousarray(sums.T)
    between = energy[:, None] + energy[None] - 2 * np.einsum("ki,kj->ij", columns, columns)
    differences = _bands(between, band, least_lag)
    # The same of what both bands vary by themselves.
    own = np.convolve(energy, np.full(band, 1 / band, np.float32), "valid")
    own = np.append(own, np.ones(len(own), np.float32))
    rows, lags = differences.shape
    energies = own[:rows, None] + np.lib.stride_tricks.sliding_window_view(own[least_lag:], lags)[:rows]
    ratios = differences / np.maximum(energies, _LEAST_ENERGY * _PROBES * width)
    return max(0.0, float(ratios.min(where=_both_there(rows), initial=1.0)))


def _bands(between: NDArray[np.float32], band: int, least_lag: int) -> NDArray[np.float32]:
    """``[n, n]`` means of a value between rows i and i + lag, over bands of rows, lags from the least on.

    Where the second band is not all there (i + lag beyond n) they mean nothing.
    """
    height = len(between)
    step = between.itemsize
    # Row i holds what is between row i and the rows i + least_lag, …; past the last of them comes the next row's.
    shape = (height - least_lag, height - band - least_lag + 1)
    lagged = np.lib.stride_tricks.as_strided(between[0, least_lag:], shape, ((height + 1) * step, step))
    means = cv2.blur(lagged.copy(), (1, band), borderType=cv2.BORDER_REFLECT)
    return np.asarray(means[band // 2 :][: shape[1]], np.float32)


@lru_cache(8)
def _both_there(count: int) -> NDArray[np.bool_]:
    """``[count, count]``: whether band i and that which is a lag further are both within the picture."""
    return np.asarray(np.tri(count, dtype=np.bool_)[::-1])


@lru_cache(8)
def _signs(width: int) -> NDArray[np.float32]:
    signs = np.random.default_rng(0).integers(0, 2, (width, _PROBES)).astype(np.float32) * 2 - 1
    return np.ascontiguousarray(signs.T)


def _spread(channels: Sequence[Image]) -> float:
    blue, green, red = channels
    differences = [cv2.subtract(channel, green, dtype=cv2.CV_32F) for channel in (blue, red)]
    return max(float(cv2.meanStdDev(difference)[1].item()) for difference in differences)


def _channels(channels: Sequence[Image]) -> float:
    """Correlation between the edges of the channels, of the pair that has least of it.

    The median over the tiles that have most edges: a coloured defect is in a few of them.
    """
    height, width = channels[0].shape
    half = (max(1, width // 2), max(1, height // 2))
    # Halved: sensors have noise of its own in each channel.
    edges = [cv2.Laplacian(cv2.resize(channel, half, interpolation=cv2.INTER_AREA), cv2.CV_32F) for channel in channels]

    def together(one: int, other: int) -> NDArray[np.float32]:
        """Mean product, of each tile."""
        product = cv2.resize(edges[one] * edges[other], (_TILES, _TILES), interpolation=cv2.INTER_AREA)
        return np.asarray(product, np.float32).ravel()

    energies = [together(channel, channel) for channel in range(3)]
    found = []
    for other in (0, 2):
        energy = energies[1] * energies[other]
        most = np.argsort(energy)[len(energy) // 2 :]
        found.append(float(np.median(together(1, other)[most] / np.sqrt(np.maximum(energy[most], 1e-12)))))
    return min(found)
