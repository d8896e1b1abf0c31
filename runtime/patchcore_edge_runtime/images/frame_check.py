"""Is this a picture of a part at all? Measured before scoring, against limits learned from the good images.

A camera that lost its light, its focus or its place still delivers frames, and a model still scores them. Four numbers
of the model-size picture, the size of the frame and the picture's ``structure`` tell such frames apart. The host learns
the limits when it calibrates, the runtime applies them; both measure with the one function of this module. Two are of
the frame as it came: how much of it is a copy of another part of it, and how much is of one colour.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from .blanks import BlankShares, blank_shares
from .geometry import Share
from .preprocess import Image
from .structure import Structure, StructureLimits, learn_structure, measure_structure
from .twins import twin_share

__all__ = ["FrameLimits", "FrameStats", "check_frame", "is_flat", "learn_limits", "measure"]

DARK = 8
"""A grey level up to which a pixel counts as black."""
BRIGHT = 247
"""A grey level from which a pixel counts as saturated."""
_BRIGHTNESS_MARGIN = 16.0
_SHARPNESS_SHARE = 0.3
_SIZE_FACTOR = 2.0
_ASPECT_TOLERANCE = 1.1
_TWIN_MARGIN = 0.1
_BLANK_MARGIN = 0.03
_NO_BLANKS = BlankShares(0.0, 0.0, 0.0, 0.0)
_FLAT = "The frame is one flat colour; check the camera and its cable."


@dataclass(frozen=True)
class FrameStats:
    """What a frame looks like.

    Attributes:
        frame_size: height and width in pixels of the frame, or of its region of interest, before resizing.
        brightness: mean grey level of the model-size image, in [0, 255].
        sharpness: variance of its Laplacian (Pech-Pacheco et al. 2000), in grey levels squared.
        dark_share: share of its pixels up to grey level 8, in [0, 1].
        bright_share: share of its pixels from grey level 247, in [0, 1].
        twin_share: share of the frame's rows or columns that are copies, in [0, 1]; see ``twins``.
        blank_shares: shares of the frame's lines that are of one colour; see ``blanks``.
        structure: of the model-size image; None where nobody asked for it.
    """

    frame_size: tuple[int, int]
    brightness: float
    sharpness: float
    dark_share: float
    bright_share: float
    twin_share: float = 0.0
    blank_shares: BlankShares = _NO_BLANKS
    structure: Structure | None = None


class FrameLimits(BaseModel):
    """What a frame has to be like to be scored; learned from good images.

    Attributes:
        min_height, max_height, min_width, max_width: of the frame or its region of interest, in pixels.
        min_aspect, max_aspect: width over height.
        min_brightness, max_brightness: mean grey level.
        min_sharpness: variance of the Laplacian.
        max_dark_share: share of black pixels above which the frame is all black.
        max_bright_share: share of saturated pixels above which the frame is saturated.
        max_twin_share: share of rows or columns that may be copies; absent in bundles of which it was not measured.
        max_blank_shares: shares of lines that may be of one colour: of rows in the left and in the right half, of
            columns in the top and in the bottom half; absent in bundles of which they were not measured.
        structure: of the picture; absent in bundles whose images were not measured so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_height: PositiveInt
    max_height: PositiveInt
    min_width: PositiveInt
    max_width: PositiveInt
    min_aspect: float = Field(gt=0, allow_inf_nan=False)
    max_aspect: float = Field(gt=0, allow_inf_nan=False)
    min_brightness: float = Field(ge=0, le=255)
    max_brightness: float = Field(ge=0, le=255)
    min_sharpness: float = Field(ge=0, allow_inf_nan=False)
    max_dark_share: float = Field(ge=0, le=1)
    max_bright_share: float = Field(ge=0, le=1)
    max_twin_share: float | None = Field(default=None, ge=0, le=1)
    max_blank_shares: tuple[Share, Share, Share, Share] | None = None
    structure: StructureLimits | None = None

    def reason(self, stats: FrameStats) -> str:
        """Why a frame must not be scored, as one sentence; empty when it may be."""
        return (
            self._size_reason(stats.frame_size)
            or self._content_reason(stats)
            or self._blank_reason(stats.blank_shares)
            or self._twin_reason(stats.twin_share)
            or self._structure_reason(stats)
        )

    def _size_reason(self, size: tuple[int, int]) -> str:
        height, width = size
        fits = self.min_height <= height <= self.max_height and self.min_width <= width <= self.max_width
        if fits and self.min_aspect <= width / height <= self.max_aspect:
            return ""
        return (
            f"Unlike the training images in size: {width}x{height} pixels where {self.min_width}x{self.min_height} to "
            f"{self.max_width}x{self.max_height} and width/height {self.min_aspect:.2f} to {self.max_aspect:.2f} "
            "are expected; set width and height in [source] (of a network camera, in its own pages), or the region of "
            "interest."
        )

    def _content_reason(self, stats: FrameStats) -> str:
        if stats.dark_share > self.max_dark_share:
            return f"All black: {stats.dark_share:.0%} of the pixels; check the light, the lens cap and the exposure."
        if stats.bright_share > self.max_bright_share:
            return f"Saturated: {stats.bright_share:.0%} of the pixels are white; check the light and the exposure."
        if not self.min_brightness <= stats.brightness <= self.max_brightness:
            return (
                f"Unlike the training images in brightness: mean {stats.brightness:.0f} where "
                f"{self.min_brightness:.0f} to {self.max_brightness:.0f} is expected; check the light and the exposure."
            )
        if stats.sharpness < self.min_sharpness:
            return (
                f"Blurred: sharpness {stats.sharpness:.1f} where at least {self.min_sharpness:.1f} is expected; "
                "check the focus and the lens, and whether the part moves."
            )
        return ""

    def _blank_reason(self, shares: BlankShares) -> str:
        if self.max_blank_shares is None:
            return ""
        beyond = [share for share, most in zip(shares, self.max_blank_shares, strict=True) if share > most]
        if not beyond:
            return ""
        return (
            f"{max(beyond):.0%} of the lines in half of the frame are blank, unlike in the training images; check the "
            "camera and its cable, the light and the exposure."
        )

    def _twin_reason(self, share: float) -> str:
        if self.max_twin_share is None or share <= self.max_twin_share:
            return ""
        return f"{share:.0%} of the frame comes twice, unlike in the training images; check the camera and its cable."

    def _structure_reason(self, stats: FrameStats) -> str:
        if self.structure is None or stats.structure is None:
            return ""
        return self.structure.reason(stats.structure)


def check_frame(image: Image, frame: NDArray[Any], limits: FrameLimits | None) -> str:
    """Why a frame must not be scored, as one sentence; empty when it may be.

    Args:
        image: HxWx3 uint8 BGR of the model's size, as ``preprocess`` returns it.
        frame: what it was made from: the frame or its region of interest.
        limits: learned from good images; without them only a flat frame is refused.
    """
    if is_flat(image):
        stats = measure(image, frame, structure=False, twins=False, blanks=False)
        return (limits.reason(stats) if limits is not None else "") or _FLAT
    if limits is None:
        return ""
    asked = {
        "structure": limits.structure is not None,
        "twins": limits.max_twin_share is not None,
        "blanks": limits.max_blank_shares is not None,
    }
    return limits.reason(measure(image, frame, **asked))


def is_flat(image: Image) -> bool:
    """Whether all pixels of an HxWx3 image are of one colour, whichever: cards without a signal give black or blue."""
    # Row by row first: most frames differ there, and neighbours in memory compare fastest.
    return np.array_equal(image[1:], image[:-1]) and np.array_equal(image[:, 1:], image[:, :-1])


def measure(
    image: Image, frame: NDArray[Any], *, structure: bool = True, twins: bool = True, blanks: bool = True
) -> FrameStats:
    """Measure a frame.

    Args:
        image: HxWx3 uint8 BGR of the model's size, as ``preprocess`` returns it.
        frame: what it was made from: the frame or its region of interest.
        structure: measure the picture's structure too, which takes as long again.
        twins: look for copies in the frame as well.
        blanks: look for lines of one colour in it.
    """
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    # float32 counts: exact up to 16 million pixels, which no model's input has.
    histogram = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel().astype(np.float64) / grey.size
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return FrameStats(
        frame_size=(int(frame.shape[0]), int(frame.shape[1])),
        brightness=float(histogram @ np.arange(256)),
        sharpness=float(deviation.item() ** 2),
        dark_share=float(histogram[: DARK + 1].sum()),
        bright_share=float(histogram[BRIGHT:].sum()),
        twin_share=twin_share(frame) if twins else 0.0,
        blank_shares=blank_shares(frame) if blanks else _NO_BLANKS,
        structure=measure_structure(image, grey) if structure else None,
    )


def learn_limits(stats: Iterable[FrameStats]) -> FrameLimits | None:
    """Limits that leave room around what good images measure; None without images.

    The room: half to twice the size; a tenth in aspect ratio; the observed range of brightness, or 16 grey levels where
    that is more, to either side; three tenths of the lowest sharpness; half the way from the largest share of black or
    saturated pixels to all of them; a tenth more of copies; the observed range of blank lines, or three
    hundredths where that is more; of the structure as ``learn_structure`` says.
    """
    seen = list(stats)
    if not seen:
        return None
    heights, widths = ([s.frame_size[axis] for s in seen] for axis in (0, 1))
    aspects = [width / height for height, width in zip(heights, widths, strict=True)]
    brightness = [s.brightness for s in seen]
    structures = [s.structure for s in seen if s.structure is not None]
    margin = max(_BRIGHTNESS_MARGIN, max(brightness) - min(brightness))
    return FrameLimits(
        min_height=max(1, int(min(heights) / _SIZE_FACTOR)),
        max_height=int(max(heights) * _SIZE_FACTOR),
        min_width=max(1, int(min(widths) / _SIZE_FACTOR)),
        max_width=int(max(widths) * _SIZE_FACTOR),
        min_aspect=min(aspects) / _ASPECT_TOLERANCE,
        max_aspect=max(aspects) * _ASPECT_TOLERANCE,
        min_brightness=max(0.0, min(brightness) - margin),
        max_brightness=min(255.0, max(brightness) + margin),
        min_sharpness=min(s.sharpness for s in seen) * _SHARPNESS_SHARE,
        max_dark_share=(1 + max(s.dark_share for s in seen)) / 2,
        max_bright_share=(1 + max(s.bright_share for s in seen)) / 2,
        max_blank_shares=BlankShares._make(map(_most_blank, zip(*(s.blank_shares for s in seen), strict=True))),
        max_twin_share=min(1.0, max(s.twin_share for s in seen) + _TWIN_MARGIN),
        structure=learn_structure(structures) if structures else None,
    )


def _most_blank(shares: tuple[float, ...]) -> float:
    """The limit for the blank lines of one half of the frame."""
    return min(1.0, max(shares) + max(_BLANK_MARGIN, max(shares) - min(shares)))
