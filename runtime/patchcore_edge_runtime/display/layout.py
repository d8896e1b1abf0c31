"""Where a frame and what is written beside it lie in one picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..images.preprocess import Image
from ..monitoring.status import Snapshot
from ..verdict import Verdict
from .panel import VERDICT_COLORS

__all__ = ["Layout", "enlargement"]

_LEAST = 480
"""Pixels of a picture's longer side: below, what is written beside it cannot be read."""
_NARROWEST = 400
_GROUND = 40


def enlargement(width: int, height: int) -> int:
    """By how much a frame is enlarged, a whole number."""
    return max(1, round(_LEAST / max(width, height, 1)))


@dataclass(frozen=True)
class Layout:
    """A frame's place between a strip above and, where there is one, a strip below, all within a rim.

    Attributes:
        size: width and height of the frame as it is shown.
        rim: width of the verdict's colour all round.
        above, below: height of the strips.
        across: width within the rim.
    """

    size: tuple[int, int]
    rim: int
    above: int
    below: int
    across: int

    @classmethod
    def around(cls, width: int, height: int, hud: Snapshot | None) -> Layout:
        """Of a frame as it is shown.

        The strip above is an eighth of the frame: on a 24 inch screen, 30 cm high, its letters are nearly 2 cm high,
        read from 4 m by the usual rule of distance / 200.
        """
        across = max(width, _NARROWEST)
        above = min(max(48, height // 8, width // 24), across // 6)
        below = 0 if hud is None else min(max(24, height // 18, width // 36), across // 16)
        if across < 12 * above:
            below *= 2
        # Even, as most frames are and most codecs want them.
        return cls((width, height), max(3, min(width, height) // 120), above // 2 * 2, below // 2 * 2, across)

    def canvas(self, verdict: Verdict) -> Image:
        """What is drawn on, in the verdict's colour."""
        inner = self.above + self.size[1] + self.below
        canvas = np.empty((inner + 2 * self.rim, self.across + 2 * self.rim, 3), np.uint8)
        canvas[:] = VERDICT_COLORS[verdict]
        canvas[self.rim : -self.rim, self.rim : -self.rim] = _GROUND
        return canvas

    def strip(self, canvas: Image) -> Image:
        """The part of a canvas above the frame, to be drawn in."""
        return canvas[self.rim : self.rim + self.above, self.rim : -self.rim]

    def picture(self, canvas: Image) -> Image:
        """The part of a canvas where the frame is."""
        left, top = self.rim + (self.across - self.size[0]) // 2, self.rim + self.above
        return canvas[top : top + self.size[1], left : left + self.size[0]]

    def counters(self, canvas: Image) -> Image:
        """The part of a canvas below the frame."""
        return canvas[-self.rim - self.below : -self.rim, self.rim : -self.rim]
