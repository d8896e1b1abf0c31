"""Frames as they come from a driver, and what their pace tells of when they were captured."""

from __future__ import annotations

import statistics
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

__all__ = ["Captured", "Pace", "news"]

_REMEMBERED = 25
_QUEUED_SHARE = 0.25
"""Of the time that the last frames took to come: one that comes sooner than this share of it was there before."""


@dataclass(frozen=True)
class Captured:
    """A frame as it came from the driver, without a number yet.

    Attributes:
        image: as in ``Frame``; None with the ``error``.
        error: why there is no image.
        time: seconds since the epoch.
        moment: ``time.monotonic`` when it was there.
        since: ``time.monotonic`` since which it is known to have been captured: when the driver was asked for it, or
            infinity where it lay in a queue already.
    """

    image: NDArray[Any] | None
    error: str
    time: float
    moment: float
    since: float


def news(reason: str) -> Captured:
    """That there is no image, and why."""
    return Captured(None, reason, time.time(), time.monotonic(), time.monotonic())


class Pace:
    """Tells a frame that the driver waited for from one that lay in a queue, as after a hang of the network."""

    def __init__(self) -> None:
        self._lasted: deque[float] = deque(maxlen=_REMEMBERED)

    def since(self, asked: float, came: float) -> float:
        """From when on a frame can have been captured that was asked for and came at these moments."""
        lasted = came - asked
        queued = len(self._lasted) == _REMEMBERED and lasted < _QUEUED_SHARE * statistics.median(self._lasted)
        self._lasted.append(lasted)
        return float("inf") if queued else asked
