"""Some of many, from first to last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

__all__ = ["KEPT_IMAGES", "evenly_chosen", "evenly_spaced"]

_T = TypeVar("_T")

KEPT_IMAGES = 128
"""As many images as a run keeps of those that it was fitted or calibrated on."""


def evenly_spaced(count: int, most: int = KEPT_IMAGES) -> list[int]:
    """Up to ``most`` places of ``count``, both ends included."""
    return [int(place) for place in np.unique(np.linspace(0, count - 1, min(most, count)).round())]


def evenly_chosen(values: Sequence[_T], most: int = KEPT_IMAGES) -> list[_T]:
    """Up to ``most`` of the values, both ends included."""
    return [values[place] for place in evenly_spaced(len(values), most)]
