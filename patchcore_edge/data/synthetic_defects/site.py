"""Where one defect goes, and what a maker of defects has to know of the picture there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.images.preprocess import Image

__all__ = ["Layer", "Pixels", "Site", "mean_channel"]

Pixels = NDArray[np.float32]

_REACH = 1.6
"""Half of a window's side, in sizes: a shape of aspect 3 with a ragged edge fits in."""
_LEAST_NOISE = 0.5
"""Grey levels; rounding alone makes 0.3."""
_LAPLACIAN = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_WEAK, _PLAIN = (4.0, 2.0, 2.5), (90.0, 6.0)
"""Grey levels, local contrasts, noise: the weakest change is the largest of the first, the plainest of the second.
One local contrast is what the texture does anywhere; what shall be seen in it has to do more."""
_HEADROOM = 180.0
_THIRDS = np.full((1, 3), 1 / 3, np.float32)


def mean_channel(values: Pixels) -> Pixels:
    """``[h,w]``: the mean of the three channels; many times as fast as NumPy's over so short an axis."""
    return np.asarray(cv2.transform(values, _THIRDS), np.float32)


@dataclass(frozen=True)
class Layer:
    """What is laid over a site's window.

    Attributes:
        alpha: ``[h,w]`` float32 in [0, 1], 0 where the picture stays.
        content: ``[h,w,3]`` float32 grey levels.
    """

    alpha: Pixels
    content: Pixels


@dataclass(frozen=True)
class Site:
    """A place in a picture.

    Attributes:
        image: HxWx3 uint8 BGR, the whole picture.
        part: HxW bool, the pixels of the part.
        other: gives the picture of another part, HxWx3 uint8 BGR; None where there is none.
        centre: row and column.
        size: of the defect, pixels: the root of its area, as a rule.
        strength: in [0, 1], from barely visible to plain.
        cell: side of one cell of the model's patch grid, pixels.
        grey: the picture has no colour, and its defect shall have none.
    """

    image: Image
    part: NDArray[np.bool_]
    other: Callable[[], Image] | None
    centre: tuple[float, float]
    size: float
    strength: float
    cell: int
    grey: bool

    @cached_property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns that the defect may change."""
        reach = _REACH * self.size + 4
        ends = zip(self.centre, self.image.shape[:2], strict=True)
        rows, columns = (slice(max(0, int(at - reach)), min(side, int(at + reach) + 1)) for at, side in ends)
        return rows, columns

    @cached_property
    def patch(self) -> Pixels:
        """``[h,w,3]``: the picture in the window."""
        return self.image[self.window].astype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the window."""
        return self.patch.shape[0], self.patch.shape[1]

    @cached_property
    def offsets(self) -> tuple[Pixels, Pixels]:
        """``[h,1]`` and ``[1,w]``: rows and columns from the centre."""
        rows, columns = self.window
        y = np.arange(rows.start, rows.stop, dtype=np.float32) - np.float32(self.centre[0])
        x = np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(self.centre[1])
        return y[:, None], x[None]

    @cached_property
    def low(self) -> Pixels:
        """``[h,w,3]``: the picture in the window without its texture."""
        return self.smooth(self.patch)

    @cached_property
    def noise(self) -> float:
        """Standard deviation of the noise, grey levels (Immerkær 1996, with a median against edges)."""
        response = cv2.filter2D(mean_channel(self.patch), -1, _LAPLACIAN, borderType=cv2.BORDER_REFLECT)
        return max(_LEAST_NOISE, 1.4826 * float(np.median(np.abs(response))) / 6)

    @cached_property
    def contrast(self) -> float:
        """Standard deviation of the texture, grey levels; robust, so that a part's outline does not count."""
        return 1.4826 * float(np.median(np.abs(mean_channel(self.patch - self.low))))

    @cached_property
    def amplitude(self) -> float:
        """Change of brightness that looks as strong as asked, grey levels."""
        weak = max(_WEAK[0], _WEAK[1] * self.contrast, _WEAK[2] * self.noise)
        plain = min(max(_PLAIN[0], _PLAIN[1] * self.contrast), _HEADROOM)
        return float(weak * (max(plain, weak) / weak) ** self.strength)

    def smooth(self, values: Pixels) -> Pixels:
        """``[h,w,3]`` without what is smaller than the defect's quarter."""
        return np.asarray(cv2.GaussianBlur(values, (0, 0), max(2.0, self.size / 6)), np.float32)

    @cached_property
    def on_part(self) -> Pixels:
        """``[h,w]``: 1 on the part, 0 off it, its outline two pixels wide."""
        return np.asarray(cv2.GaussianBlur(self.part[self.window].astype(np.float32), (0, 0), 1.0), np.float32)

    def sign(self, rng: np.random.Generator) -> float:
        """1 for brighter or −1 for darker, by chance; against the range's near end where there is no room."""
        level = float(self.low[self._middle].mean())
        room = np.array([level, 255 - level])
        if room.min() < min(self.amplitude, room.max()):
            return float((-1, 1)[int(room.argmax())])
        return float(rng.choice((-1, 1)))

    def tint(self, rng: np.random.Generator) -> Pixels:
        """``[3]``, largest value 1: how much of a change each channel takes; half of the changes have no colour."""
        weights = rng.uniform(0.1, 1, 3) if rng.random() < 0.5 and not self.grey else np.ones(3)
        return np.asarray(weights / weights.max(), np.float32)

    def grain(self, rng: np.random.Generator) -> Pixels:
        """``[h,w,1]``: noise as the picture has it, for content that was made without."""
        return (self.noise * rng.standard_normal(self.shape, np.float32))[..., None]

    @property
    def _middle(self) -> tuple[int, int]:
        rows, columns = self.window
        return int(self.centre[0]) - rows.start, int(self.centre[1]) - columns.start
