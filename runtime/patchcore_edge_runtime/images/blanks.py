"""Stretches of a frame that are of one colour to the last bit: a sensor's noise never is.

A buffer that was not filled to its end, a tap of the sensor that is silent: the rest of the frame may be like a good
one. The background of a part can be clipped to black or white, which is learned from the good images.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .probes import probes

__all__ = ["BlankShares", "blank_shares"]

_PROBES = 64
"""Pixels of half a line that are compared."""
_FIRST = 8
"""Every so many of them are looked at first."""


class BlankShares(NamedTuple):
    """Of the lines of one half of a frame, the share that is of one colour, in [0, 1].

    Attributes:
        left, right: of its rows, as far as they lie in that half.
        top, bottom: of its columns.
    """

    left: float
    right: float
    top: float
    bottom: float


def blank_shares(frame: NDArray[Any]) -> BlankShares:
    """Measure a frame.

    Args:
        frame: HxW or HxWxC, as the camera gave it.
    """
    planes = frame[..., None] if frame.ndim == 2 else frame
    columns = planes.swapaxes(0, 1)
    return BlankShares._make(share for lines in (planes, columns) for share in _halves(lines))


def _halves(lines: NDArray[Any]) -> tuple[float, float]:
    middle = lines.shape[1] // 2
    return _share(lines[:, :middle]), _share(lines[:, middle:])


def _share(lines: NDArray[Any]) -> float:
    """Of lines as rows."""
    count, length = lines.shape[:2]
    if not length:
        return 0.0
    places = probes(length, _PROBES)
    # Of one channel first: most lines end with that.
    probed = lines[:, places[::_FIRST], lines.shape[2] // 2]
    left = np.flatnonzero((probed == probed[:, :1]).all(axis=1))
    probed = lines[np.ix_(left, places)]
    return float(np.count_nonzero((probed == probed[:, :1]).all(axis=(1, 2))) / count)
