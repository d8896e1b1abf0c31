"""How well a recipe keeps unseen good parts and defects apart, and how sure that is.

The measure is the share of defects that are found, averaged over the rates of good images rejected up to a tenth (the
partial area under the ROC curve, Dodd and Pepe 2003): the pairs of a defect and one of the highest good images in which
the defect scores higher. Lines work at such rates; and what a recipe makes of defects that every good image lies below
says little about those that are hard to see. Its uncertainty, and that of a difference between two recipes on the same
pictures, comes from each good image's influence with the defects made on it (the placements of DeLong, DeLong and
Clarke-Pearson 1988, summed by image, as pictures of one part are no independent witnesses).

Other images are not all that may come: the real defects are of a kind that nobody made. Each kind of synthetic defect
tells of a recipe's gain by itself; how far the kinds disagree says how far a further one may lie from their mean. And
nobody knows how large the real ones are: small, middling and large synthetic ones are told apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["RATE", "ROUNDING", "Evidence", "combined", "evidence"]

_Floats = NDArray[np.float64]
RATE = 0.1
"""Of good images rejected, up to which defects count as found."""
_MAP = 0.25
ROUNDING = 1e-4
"""Scores that differ by less than this share are equal: a defect away from the patch that decides leaves its image's
score as it was, and float32, in another batch or by another process, is not to say which of the two is higher."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """A measure in [0, 1] with what each picture contributes to it.

    Attributes:
        value: the measure.
        influence: ``[u]`` of each witness; their variance through u is that of the value.
        kinds: ``[k]`` the measure by kind of defect.
        sizes: ``[s]`` the measure by size of defect, from small to large.
    """

    value: float
    influence: _Floats
    kinds: _Floats
    sizes: _Floats

    @property
    def error(self) -> float:
        """The value's standard error."""
        return _error(self.influence)

    def least_gain(self, other: Evidence) -> float:
        """The difference to a measure of the same pictures for the size of defects that gains least."""
        return float((self.sizes - other.sizes).min())

    def difference_error(self, other: Evidence) -> float:
        """Standard error of the difference to a measure of the same pictures.

        That of other images, or of a further kind of defect, whichever is larger.
        """
        gains = self.kinds - other.kinds
        count = len(gains)
        of_kinds = float(gains.std(ddof=1) * np.sqrt(1 + 1 / count)) if count > 1 else 0.0
        return max(_error(self.influence - other.influence), of_kinds)


def evidence(
    good: NDArray[np.float32],
    defects: NDArray[np.float32],
    sources: NDArray[np.int64],
    located: NDArray[np.float32] | None = None,
    kinds: NDArray[np.int64] | None = None,
    sizes: NDArray[np.int64] | None = None,
    rate: float = RATE,
) -> Evidence:
    """Of good images and defects made on them.

    Args:
        good: ``[n]`` scores.
        defects: ``[m]`` scores, m at least 1.
        sources: ``[m]`` the good image that each is on.
        located: ``[m]`` how well the map finds each, in [0, 1]; where it is given it has a quarter of the weight: a
            verdict is worth more than the picture that explains it.
        kinds: ``[m]`` number of each defect's kind; all of one when None.
        sizes: ``[m]`` number of each defect's class of sizes; all of one when None.
        rate: of good images rejected, in (0, 1], up to which defects count as found; 1 for the area under the ROC.
    """
    n, m = len(good), len(defects)
    value, of_good, of_defects = _found(good, defects, rate)
    influence = of_good + np.bincount(sources, of_defects - value, n) * n / m
    if located is not None:
        mean = float(located.mean())
        influence = (1 - _MAP) * influence + _MAP * np.bincount(sources, located - mean, n) * n / m
        value = (1 - _MAP) * value + _MAP * mean
        of_defects = (1 - _MAP) * of_defects + _MAP * located
    return Evidence(value, influence, _by(kinds, of_defects), _by(sizes, of_defects))


def combined(synthetic: Evidence, good: NDArray[np.float32], real: NDArray[np.float32], trust: float) -> Evidence:
    """Synthetic evidence with that of labelled defects, each weighed by how sure it is.

    Args:
        synthetic: of defects that were made.
        good: ``[n]`` scores of good images that the labelled defects are held against.
        real: ``[r]`` scores of labelled defects; with none the synthetic evidence stays as it is.
        trust: standard deviation of what synthetic and real defects make of a recipe, whatever their number.
    """
    if not len(real):
        return synthetic
    value, good_part, own = _found(good, real, RATE)
    variance = float(own.var() / len(real) + good_part.var() / len(good)) + 0.25 / len(real) ** 2
    weights = np.array([1 / (synthetic.error**2 + trust**2), 1 / variance])
    first, second = weights / weights.sum()
    # Side by side: one witness for each good image, and one for each labelled defect.
    count = len(synthetic.influence) + len(real)
    influence = np.r_[
        (first * synthetic.influence + second * good_part[: len(synthetic.influence)])
        * count
        / len(synthetic.influence),
        second * (own - value) * count / len(real),
    ]
    parts = (first * part + second * value for part in (synthetic.value, synthetic.kinds, synthetic.sizes))
    combined_value, kinds, sizes = parts
    return Evidence(float(combined_value), influence, np.asarray(kinds), np.asarray(sizes))


def _by(group: NDArray[np.int64] | None, of_defects: _Floats) -> _Floats:
    """Mean of each group, in the groups' order."""
    numbers = np.zeros(len(of_defects), np.int64) if group is None else group
    return np.array([of_defects[numbers == one].mean() for one in np.unique(numbers)], np.float64)


def _found(good: NDArray[np.float32], defects: NDArray[np.float32], rate: float) -> tuple[float, _Floats, _Floats]:
    """The measure; ``[n]`` each good image's influence on it; ``[m]`` the share of the highest below each defect."""
    count = max(1, int(np.ceil(rate * len(good) - 1e-9)))
    least = np.sort(good)[-count]
    highest = good >= least - ROUNDING * abs(least)  # ties and all, as any of them may be the one
    of_defects = _below(good[highest], defects)
    value = float(of_defects.mean())
    above = 1 - _below(defects, good)
    at_least = 1 - float(_below(defects, good[highest].min(keepdims=True))[0])
    share = len(good) / int(highest.sum())
    return value, np.where(highest, share * (above - at_least), 0.0) + at_least - value, of_defects


def _below(lower: NDArray[np.float32], upper: NDArray[np.float32]) -> _Floats:
    """``[len(upper)]`` the share of ``lower`` below each, ties by half."""
    order, exact = np.sort(lower).astype(np.float64), upper.astype(np.float64)
    slack = ROUNDING * np.abs(exact)
    left = np.searchsorted(order, exact - slack, side="left")
    right = np.searchsorted(order, exact + slack, side="right")
    return np.asarray((left + right) / (2 * len(order)), np.float64)


def _error(influence: _Floats) -> float:
    return float(influence.std() / np.sqrt(len(influence)))
