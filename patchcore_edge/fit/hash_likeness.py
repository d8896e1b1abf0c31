"""How surely two pictures show one part: what their perceptual hashes say, where their features say that they may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .likeness import CANDIDATES, NEAR, SURE

__all__ = ["Hashes"]

_HASH_SHARE = 0.5
"""Hashes tell by less than half of the bits by which those of similar other parts differ."""
_HASH_TELLS = 10
"""Bits by which similar other parts have to differ: saving a picture again turns up to four."""
_HASH_FEW, _HASH_MOST, _HASH_MOST_OF_FEW = 30, 8, 4
"""Bits at most. Among few images even the similar ones are of another kind, and half of their distance says little."""


class Hashes:
    """Images by their perceptual hashes.

    Args:
        hashes: ``[64]`` each.
    """

    def __init__(self, hashes: Sequence[NDArray[np.bool_]]) -> None:
        # As ±1, so that a product counts the bits that agree.
        self._signs = np.array(hashes, np.float32) * 2 - 1

    def agreeing(self, bits: NDArray[np.bool_], explained: Mapping[int, float], own: int | None = None) -> set[int]:
        """Of the images that explain a picture's features, the places of those that show its part.

        Those that surely do, unless their hashes differ by more than those of similar other parts: noise can make
        features alike too. And those that may, where the hashes differ by less than half of that.

        Args:
            bits: the picture's hash.
            explained: what ``Pictures.explaining`` says of the picture.
            own: its own place, if it is one of the images.
        """
        signs = np.asarray(bits, np.float32) * 2 - 1
        apart = (len(signs) - self._signs @ signs) / 2
        if own is not None:
            apart[own] = np.inf
        others = len(apart) - (own is not None)
        rank = min(max(CANDIDATES, int(NEAR * others)), others - 1)
        usual = np.partition(apart, rank)[rank]
        most = _HASH_MOST if others >= _HASH_FEW else _HASH_MOST_OF_FEW
        tells = usual >= _HASH_TELLS

        def agrees(place: int, share: float) -> bool:
            if share < SURE and apart[place] <= usual:
                return True
            return bool(tells and apart[place] < _HASH_SHARE * usual and apart[place] <= most)

        return {place for place, share in explained.items() if agrees(place, share)}
