"""False rejects against defects caught, threshold by threshold; and the rate that is taken when none is asked for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.bundle.manifest import TradeOffPoint

from .good_scores import Caught, GoodScores
from .rank import rate_of, upper_bound, value_at

__all__ = ["chosen_places", "recall", "trade_off"]

_POINTS = 40
_LARGEST_RATE = 0.3


def recall(scores: NDArray[np.float32], threshold: float) -> float | None:
    """Share of ``[n]`` scores above a threshold; None of none."""
    return float((scores > threshold).mean()) if len(scores) else None


def trade_off(good: GoodScores, caught: Caught) -> tuple[TradeOffPoint, ...]:
    """What thresholds at each of the highest good scores would do, rising; up to an expected rate of 30 %.

    Args:
        good: one image a part.
        caught: scores of defects.
    """
    n = len(good)
    places = np.unique(np.geomspace(1, max(1, int(_LARGEST_RATE * n)), _POINTS).round().astype(int))
    points = [_point(good, caught, n + 1 - int(place)) for place in places[::-1]]
    return tuple(points)


def _point(good: GoodScores, caught: Caught, rank: int) -> TradeOffPoint:
    threshold = value_at(good.scores, rank)
    return TradeOffPoint(
        threshold=threshold,
        expected_fpr=rate_of(len(good), rank),
        fpr_upper_bound=upper_bound(len(good), rank),
        synthetic_recall=recall(caught.synthetic, threshold),
        labelled_recall=recall(caught.labelled, threshold),
    )


def chosen_places(good: GoodScores, caught: Caught, largest_rate: float) -> tuple[int, int]:
    """Which of the highest good scores is the threshold when no rate was asked for: counted from 1, from the top.

    The lowest rate at which defects are still caught as at ``largest_rate``, within a standard error: what cannot be
    told apart is not worth a good part. A score of an image that ``train`` found unlike the others is passed over where
    another is left: its score says little of good parts.

    Args:
        good: one image a part.
        caught: scores of defects; without any, the largest rate is taken.
        largest_rate: in (0, 1), to the nearest that the parts support; where they are too few, the highest score is all
            there is.

    Returns:
        the place that was chosen, and the last one that could have been: its rate is what can be promised, since the
        choice was made by looking.
    """
    last = max(1, round((len(good) + 1) * largest_rate))
    order = np.argsort(-good.scores, kind="stable")
    places = [place for place in range(1, last + 1) if not _is_suspect(good, int(order[place - 1]))] or [last]
    rates = [recall(caught.synthetic, value_at(good.scores, len(good) + 1 - place)) for place in places]
    best = rates[-1]
    if best is None:
        return places[-1], last
    error = math.sqrt(best * (1 - best) / len(caught.synthetic))
    return next(place for place, rate in zip(places, rates, strict=True) if (rate or 0.0) >= best - error), last


def _is_suspect(good: GoodScores, image: int) -> bool:
    return bool(good.names) and good.names[image] in good.suspects
