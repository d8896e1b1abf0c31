"""Which pixels of a line stand for all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["probes"]


def probes(length: int, most: int) -> NDArray[np.intp]:
    """Places of up to ``most`` of so many pixels, evenly over the line, its ends included."""
    return np.linspace(0, length - 1, min(length, most)).astype(np.intp)
