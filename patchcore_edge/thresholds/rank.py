"""Which of n good scores is the threshold for a false-reject rate, and what that promises.

Split conformal prediction: with n exchangeable good scores the k-th smallest, k = ⌈(n + 1)(1 − α)⌉, is exceeded by a
new good image with probability at most α (Vovk, Gammerman, Shafer 2005, section 2.2). Where k > n the images are too
few for α; then the largest score is taken and the rate it supports is said. Given the scores, the false-reject rate of
the k-th smallest follows Beta(n + 1 − k, k) (Vovk 2012, "Conditional validity"), which gives the confidence bound.

Images come in batches, and a new part comes from a new batch. With G exchangeable batches, p̂(t) the share of a batch's
images above t averaged over the batches, a new image of a new batch exceeds t with probability at most
(G·p̂(t) + 1) / (G + 1) where t is the quantile for that value (Lee, Barber, Willett 2023, "Distribution-free inference
with hierarchical data", section 3): the one is the new batch, of which nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.errors import ConfigError

__all__ = [
    "CONFIDENCE",
    "THRESHOLD_MARGIN",
    "new_batch_rate",
    "rank_for",
    "rank_for_new_batch",
    "rate_of",
    "require_rate",
    "upper_bound",
    "value_at",
]

THRESHOLD_MARGIN = 1e-3
"""The threshold is put this share above the score that sets it, so that rounding on another device flips no image."""

CONFIDENCE = 0.95

_Values = NDArray[np.float32]


def require_rate(target_fpr: float) -> None:
    """Raise ``ConfigError`` for what is no rate in (0, 1)."""
    if not 0 < target_fpr < 1:
        raise ConfigError(f"The target false-reject rate is {target_fpr}; give a number between 0 and 1.")


def rank_for(n: int, rate: float) -> int:
    """The rank, from 1, among n good scores; above n where they are too few for the rate."""
    # Guards against 0.99 * 100 being 99.00000000000001.
    return max(1, math.ceil((n + 1) * (1 - rate) - 1e-9))


def rank_for_new_batch(values: _Values, batches: Sequence[str], rate: float) -> int:
    """The same for a batch that nobody has seen; above n where the batches are too few.

    Args:
        values: ``[n]`` good scores.
        batches: of each; at least two different ones.
        rate: in (0, 1).
    """
    n = len(values)
    rates = [new_batch_rate(values, batches, rank) for rank in range(1, n + 1)]
    return next((rank for rank, one in enumerate(rates, 1) if one <= rate + 1e-12), n + 1)


def new_batch_rate(values: _Values, batches: Sequence[str], rank: int) -> float:
    """Bound of the false-reject rate to expect of a new batch at the ``rank``-th smallest of ``[n]`` good scores."""
    above = np.zeros(len(values))
    above[np.argsort(values, kind="stable")[rank:]] = 1
    names = np.asarray(batches)
    shares = [above[names == name].mean() for name in sorted(set(batches))]
    return float((sum(shares) + 1) / (len(shares) + 1))


def rate_of(n: int, rank: int) -> float:
    """False-reject rate to expect at the ``rank``-th smallest of n good scores."""
    return (n + 1 - rank) / (n + 1)


def upper_bound(n: int, rank: int) -> float:
    """What that rate stays below with 95 % confidence."""
    # Imported where it is used: it takes a second, and a fit does without.
    from scipy.stats import beta

    return float(beta.ppf(CONFIDENCE, n + 1 - rank, rank))


def value_at(values: _Values, rank: int) -> float:
    """The threshold at the ``rank``-th smallest value, a margin above it."""
    return float(np.sort(values)[rank - 1]) * (1 + THRESHOLD_MARGIN)
