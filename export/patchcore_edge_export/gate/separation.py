"""How well scores tell good parts from defects: what 8 bits may not cost, whatever they do to single scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

__all__ = ["RECALL_FPR", "Separation", "separation"]

RECALL_FPR = 0.01
"""False rejects at which recall is taken; where good images are too few for it, no good image is rejected."""
_LEAST_RECALL_DROP = 0.02
_ERRORS = 1.0
_SAME = 1e-3
"""Of the threshold: the margin that calibration leaves, too, for rounding."""


@dataclass(frozen=True)
class Separation:
    """How well torch's scores and a graph's keep the same good and defective images apart.

    Attributes:
        auroc: image AUROC, of torch and of the graph.
        auroc_error: standard error of their difference, were other images drawn (DeLong et al. 1988).
        recall: share of the defective ones above the score that ``RECALL_FPR`` of good ones exceed, likewise.
        defects: how many defective images.
    """

    auroc: tuple[float, float]
    auroc_error: float
    recall: tuple[float, float]
    defects: int

    @property
    def recall_drop_limit(self) -> float:
        """Largest loss of recall that passes: what another draw of as many defects changes it by, or 2 points."""
        recall = self.recall[0]
        return max(_LEAST_RECALL_DROP, _ERRORS * sqrt(recall * (1 - recall) / self.defects))


def separation(
    sides: Sequence[tuple[Sequence[float], Sequence[float]]], thresholds: Sequence[float]
) -> Separation | None:
    """Compare two sides.

    Scores closer than a thousandth of the threshold are one: a weak defect may leave the score of its image as it is,
    and rounding would order the two.

    Args:
        sides: torch's raw scores of good and of defective images, and the graph's of the same.
        thresholds: each side's image threshold.

    Returns:
        None where a kind is missing or a score is no finite number.
    """
    (good, bad), _ = sides
    if not len(good) or not len(bad) or not all(np.isfinite([*one, *other]).all() for one, other in sides):
        return None
    wins, recalls = [], []
    for (good_scores, bad_scores), threshold in zip(sides, thresholds, strict=True):
        margin = _SAME * threshold
        ahead = np.asarray(bad_scores)[:, None] - np.asarray(good_scores)[None]
        wins.append(0.5 * ((ahead > margin).astype(np.float64) + (ahead >= -margin)))
        recalls.append(float((np.asarray(bad_scores) > _conformal(np.asarray(good_scores)) + margin).mean()))
    change = wins[1] - wins[0]
    error = sqrt(change.mean(1).var() / len(bad) + change.mean(0).var() / len(good))
    return Separation((float(wins[0].mean()), float(wins[1].mean())), error, (recalls[0], recalls[1]), len(bad))


def _conformal(good: NDArray[np.float64]) -> float:
    """The score that a new good image exceeds with probability ``RECALL_FPR``, or the largest of too few."""
    rank = min(ceil((len(good) + 1) * (1 - RECALL_FPR) - 1e-9), len(good))
    return float(np.sort(good)[rank - 1])
