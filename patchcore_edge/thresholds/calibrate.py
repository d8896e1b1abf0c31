"""Thresholds for a false-reject rate: one that was asked for, or one that n parts support and that catches defects."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.bundle.manifest import CalibrationFacts
from patchcore_edge_runtime.path_text import path_text
from patchcore_edge_runtime.verdict import Thresholds

from ..metrics.scores import Scores
from .f1 import calibrate_on_defects
from .facts import Found, good_facts, made
from .good_scores import Caught, GoodScores
from .rank import rank_for, rank_for_new_batch, require_rate, value_at
from .trade_off import chosen_places

__all__ = ["DEFAULT_FPR", "calibrate", "calibrate_good", "calibrate_on_scores"]

DEFAULT_FPR = 0.05
"""Share of good parts that may be called NG when no rate is asked for, to the nearest rate that n parts support."""


def calibrate_on_scores(scores: Scores, target_fpr: float | None, data: str) -> tuple[Thresholds, CalibrationFacts]:
    """Thresholds from labelled images that the bank has not seen.

    Args:
        scores: of good images, or of good and defective ones.
        target_fpr: share of good parts that may be called NG, in (0, 1). When None, the threshold is that of the
            highest F1 where there are defective images, and one that n images support where there are none.
        data: where the images come from, for the record.

    Raises:
        ConfigError: the rate is not in (0, 1), or the scores are unusable.
    """
    names = tuple(path_text(path.name) for path in scores.paths)
    if target_fpr is None and scores.labels.any():
        return calibrate_on_defects(
            scores.scores, scores.labels, scores.map_maxima, scores.pixels, DEFAULT_FPR, data, names
        )
    good = ~scores.labels
    kept = GoodScores(
        scores.scores[good], scores.map_maxima[good], tuple(names[i] for i in np.flatnonzero(good) if names)
    )
    return calibrate_good(kept, target_fpr, data, caught=Caught(labelled=scores.scores[scores.labels]))


def calibrate(
    scores: NDArray[np.float32],
    map_maxima: NDArray[np.float32],
    target_fpr: float | None,
    data: str,
    method: Literal["held-out", "cross-fitted"] = "held-out",
) -> tuple[Thresholds, CalibrationFacts]:
    """Thresholds from the scores of different parts.

    Args:
        scores: ``[n]`` raw image scores of good images out of sample.
        map_maxima: ``[n]`` largest value of each image's raw map; sets the pixel threshold likewise, so that at
            most a share of ``target_fpr`` of good images shows any defect region.
        target_fpr: share of good parts that may be called NG, in (0, 1); see ``calibrate_good`` for None.
        data: where the images come from, for the record.
        method: how the scores came to be out of sample.

    Raises:
        ConfigError: the rate is not in (0, 1), or the scores are unusable.
    """
    return calibrate_good(GoodScores(scores, map_maxima), target_fpr, data, method)


def calibrate_good(
    good: GoodScores,
    target_fpr: float | None,
    data: str,
    method: Literal["held-out", "cross-fitted"] = "held-out",
    caught: Caught | None = None,
) -> tuple[Thresholds, CalibrationFacts]:
    """Thresholds from good images alone.

    Args:
        good: their scores; copies of one part count once. Where batches are known, an asked rate is kept for a batch
            that nobody has seen.
        target_fpr: share of good parts that may be called NG, in (0, 1). When None, a rate of at most 5 % that n parts
            support, as low as it can be without letting more synthetic defects pass.
        data: where the images come from, for the record.
        method: how the scores came to be out of sample.
        caught: scores of defects, to weigh rates by and for the record. They enter no promise.

    Raises:
        ConfigError: the rate is not in (0, 1), or the scores are unusable.
    """
    if target_fpr is not None:
        require_rate(target_fpr)
    parts, caught = good.per_part(), caught or Caught()
    image = _asked(parts, parts.scores, target_fpr) if target_fpr is not None else _default(parts, caught)
    pixel = image.rank if target_fpr is None else _asked(parts, parts.maxima, target_fpr).rank
    facts = good_facts(good, parts, image, caught, data=data, method=method)
    return made(value_at(parts.scores, image.rank), value_at(parts.maxima, pixel)), facts


def _asked(parts: GoodScores, values: NDArray[np.float32], rate: float) -> Found:
    n = len(parts)
    needed = rank_for_new_batch(values, parts.batches, rate) if parts.batch_count else rank_for(n, rate)
    rank = min(needed, n)
    return Found(rank, rank, rate, needed <= n, "as asked")


def _default(parts: GoodScores, caught: Caught) -> Found:
    place, last = chosen_places(parts, caught, DEFAULT_FPR)
    n = len(parts)
    return Found(n + 1 - place, n + 1 - last, None, True, "")
