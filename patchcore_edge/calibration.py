"""Thresholds from good images that the memory bank has not seen.

Split conformal prediction: with n exchangeable good scores, the k-th smallest, k = ⌈(n + 1)(1 − α)⌉, is exceeded by
a new good image with probability at most α (Vovk, Gammerman, Shafer 2005, section 2.2). Where k > n the images
are too few for α; then the largest score is taken and the rate it supports is said. Given the scores, the
false-reject rate of the k-th smallest follows Beta(n + 1 − k, k) (Vovk 2012, "Conditional validity"), which
gives the confidence bound.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.manifest import CalibrationFacts, ScoreStats
from patchcore_edge_runtime.verdict import Thresholds

__all__ = ["THRESHOLD_MARGIN", "calibrate", "describe"]

THRESHOLD_MARGIN = 1e-3
"""The threshold is put this share above the score that sets it, so that rounding on another device flips no image."""

_CONFIDENCE = 0.95


def calibrate(
    scores: NDArray[np.float32], map_maxima: NDArray[np.float32], target_fpr: float, data: str
) -> tuple[Thresholds, CalibrationFacts]:
    """Thresholds for an asked false-reject rate.

    Args:
        scores: ``[n]`` raw image scores of good images out of sample.
        map_maxima: ``[n]`` largest value of each image's raw map; sets the pixel threshold likewise, so that at
            most a share of ``target_fpr`` of good images shows any defect region.
        target_fpr: share of good parts that may be called NG, in (0, 1).
        data: where the images come from, for the record.

    Raises:
        ConfigError: the rate is not in (0, 1), or the scores are unusable.
    """
    if not 0 < target_fpr < 1:
        raise ConfigError(f"The target false-reject rate is {target_fpr}; give a number between 0 and 1.")
    if not len(scores) or not np.isfinite(scores).all() or not np.isfinite(map_maxima).all():
        raise ConfigError("The calibration images have no finite scores; check the images and the model.")
    n = len(scores)
    # Guards against 0.99 * 100 being 99.00000000000001.
    needed = math.ceil((n + 1) * (1 - target_fpr) - 1e-9)
    rank = min(max(needed, 1), n)
    thresholds = Thresholds(image=_raised(scores, rank), pixel=_raised(map_maxima, rank))
    facts = CalibrationFacts(
        data=data,
        n=n,
        target_fpr=target_fpr,
        rank=rank,
        supported_fpr=(n + 1 - rank) / (n + 1),
        fpr_upper_bound=float(beta.ppf(_CONFIDENCE, n + 1 - rank, rank)),
        supports_target=needed <= n,
        scores=ScoreStats(min=float(scores.min()), median=float(np.median(scores)), max=float(scores.max())),
    )
    return thresholds, facts


def describe(thresholds: Thresholds, facts: CalibrationFacts) -> str:
    """What a person should know about the thresholds, in two or three sentences."""
    text = (
        f"Threshold {thresholds.image:.4g} (pixels {thresholds.pixel:.4g}) from {facts.n} good images: "
        f"expect at most {facts.supported_fpr:.2%} of good parts rejected, "
        f"with {_CONFIDENCE:.0%} confidence fewer than {facts.fpr_upper_bound:.2%}."
    )
    if not facts.supports_target:
        wanted = math.ceil(1 / facts.target_fpr) - 1
        text += (
            f" {facts.n} images are too few for the {facts.target_fpr:.3%} asked for, which takes at least {wanted};"
            " the threshold is the highest good score."
        )
    return text


def _raised(scores: NDArray[np.float32], rank: int) -> float:
    return float(np.sort(scores)[rank - 1]) * (1 + THRESHOLD_MARGIN)
