"""Thresholds: from good images that the memory bank has not seen, or from labelled defects.

Without defects, split conformal prediction: with n exchangeable good scores, the k-th smallest, k = ⌈(n + 1)(1 − α)⌉,
is exceeded by a new good image with probability at most α (Vovk, Gammerman, Shafer 2005, section 2.2). Where k > n
the images are too few for α; then the largest score is taken and the rate it supports is said. Given the scores, the
false-reject rate of the k-th smallest follows Beta(n + 1 − k, k) (Vovk 2012, "Conditional validity"), which gives the
confidence bound.

With labelled defects in the validation split, the threshold of the highest F1. It is chosen by looking at the scores,
so the bound on its false-reject rate has to hold for all thresholds at once (Massart 1990, the one-sided
Dvoretzky-Kiefer-Wolfowitz inequality).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.manifest import CalibrationFacts, ScoreStats
from patchcore_edge_runtime.verdict import Thresholds

from .evaluator import Scores
from .pixels import PixelCounts

__all__ = [
    "DEFAULT_TARGET_FPR",
    "THRESHOLD_MARGIN",
    "calibrate",
    "calibrate_on_defects",
    "calibrate_on_scores",
    "describe",
    "require_rate",
]

DEFAULT_TARGET_FPR = 0.001
"""Share of good parts that may be called NG when nothing else is asked for."""

THRESHOLD_MARGIN = 1e-3
"""The threshold is put this share above the score that sets it, so that rounding on another device flips no image."""

_CONFIDENCE = 0.95


def calibrate_on_scores(scores: Scores, target_fpr: float | None, data: str) -> tuple[Thresholds, CalibrationFacts]:
    """Thresholds from labelled images that the bank has not seen.

    Args:
        scores: of good images, or of good and defective ones.
        target_fpr: share of good parts that may be called NG, in (0, 1). When None, the threshold is that of the
            highest F1 where there are defective images, and 0.001 is the rate where there are none.
        data: where the images come from, for the record.

    Raises:
        ConfigError: the rate is not in (0, 1), or the scores are unusable.
    """
    rate = DEFAULT_TARGET_FPR if target_fpr is None else target_fpr
    if target_fpr is None and scores.labels.any():
        return calibrate_on_defects(scores.scores, scores.labels, scores.map_maxima, scores.pixels, rate, data)
    good = ~scores.labels
    return calibrate(scores.scores[good], scores.map_maxima[good], rate, data)


def calibrate(
    scores: NDArray[np.float32],
    map_maxima: NDArray[np.float32],
    target_fpr: float,
    data: str,
    method: Literal["held-out", "cross-fitted"] = "held-out",
) -> tuple[Thresholds, CalibrationFacts]:
    """Thresholds for an asked false-reject rate.

    Args:
        scores: ``[n]`` raw image scores of good images out of sample.
        map_maxima: ``[n]`` largest value of each image's raw map; sets the pixel threshold likewise, so that at
            most a share of ``target_fpr`` of good images shows any defect region.
        target_fpr: share of good parts that may be called NG, in (0, 1).
        data: where the images come from, for the record.
        method: how the scores came to be out of sample.

    Raises:
        ConfigError: the rate is not in (0, 1), or the scores are unusable.
    """
    # Imported where it is used: it takes a second, and a fit does without.
    from scipy.stats import beta

    require_rate(target_fpr)
    _require_finite(scores, map_maxima)
    n = len(scores)
    # Guards against 0.99 * 100 being 99.00000000000001.
    needed = math.ceil((n + 1) * (1 - target_fpr) - 1e-9)
    rank = min(max(needed, 1), n)
    thresholds = _thresholds(_raised(scores, rank), _raised(map_maxima, rank))
    facts = CalibrationFacts(
        data=data,
        method=method,
        n=n,
        target_fpr=target_fpr,
        rank=rank,
        supported_fpr=(n + 1 - rank) / (n + 1),
        fpr_upper_bound=float(beta.ppf(_CONFIDENCE, n + 1 - rank, rank)),
        supports_target=needed <= n,
        scores=_stats(scores),
    )
    return thresholds, facts


def calibrate_on_defects(
    scores: NDArray[np.float32],
    labels: NDArray[np.bool_],
    map_maxima: NDArray[np.float32],
    pixels: PixelCounts | None,
    target_fpr: float,
    data: str,
) -> tuple[Thresholds, CalibrationFacts]:
    """Thresholds of the highest F1 on images with labelled defects.

    Args:
        scores: ``[n]`` raw image scores, none of an image that the bank has seen.
        labels: ``[n]`` True for defective; both kinds are needed.
        map_maxima: ``[n]`` largest value of each image's raw map.
        pixels: of the same images; without, or without defective ones, the pixel threshold is that of ``calibrate``.
        target_fpr: for the pixel threshold without masks, in (0, 1).
        data: where the images come from, for the record.

    Raises:
        ConfigError: one kind is missing, the scores are unusable, or the model does not tell the kinds apart.
    """
    if labels.all() or not labels.any():
        raise ConfigError("The highest F1 needs good and defective validation images; give both.")
    _require_finite(scores, map_maxima)
    image, f1 = _best_f1(labels, scores)
    good = scores[~labels]
    n, passed = len(good), int((good <= image).sum())
    if not passed:
        raise ConfigError("The highest F1 would reject every good validation image; the model cannot tell the defects.")
    rejected = 1 - passed / n
    facts = CalibrationFacts(
        data=data,
        method="f1",
        defects=int(labels.sum()),
        f1=f1,
        n=n,
        target_fpr=target_fpr,
        rank=passed,
        supported_fpr=(n + 1 - passed) / (n + 1),
        fpr_upper_bound=min(1.0, rejected + math.sqrt(math.log(1 / (1 - _CONFIDENCE)) / (2 * n))),
        supports_target=(n + 1 - passed) / (n + 1) <= target_fpr,
        scores=_stats(good),
    )
    if pixels is not None and pixels.has_both:
        return _thresholds(image, _best_f1(*pixels.samples())[0]), facts
    return _thresholds(image, calibrate(good, map_maxima[~labels], target_fpr, data)[0].pixel), facts


def describe(thresholds: Thresholds, facts: CalibrationFacts) -> str:
    """What a person should know about the thresholds, in two or three sentences."""
    what = {
        "held-out": f"{facts.n} good images",
        "cross-fitted": f"{facts.n} good images, cross-fitted",
        "f1": f"{facts.n} good and {facts.defects} defective images, F1 {facts.f1 or 0:.3f}",
    }[facts.method]
    expected = f"expect at most {facts.supported_fpr:.2%} of good parts rejected"
    if facts.method == "f1":
        expected = f"{facts.n - facts.rank} of these good images would be rejected"
    text = (
        f"Threshold {thresholds.image:.4g} (pixels {thresholds.pixel:.4g}) from {what}: {expected}, "
        f"with {_CONFIDENCE:.0%} confidence fewer than {facts.fpr_upper_bound:.2%} of good parts."
    )
    if facts.method != "f1" and not facts.supports_target:
        wanted = math.ceil(1 / facts.target_fpr) - 1
        text += (
            f" {facts.n} images are too few for the {facts.target_fpr:.3%} asked for, which takes at least {wanted};"
            " the threshold is the highest good score."
        )
    return text


def require_rate(target_fpr: float) -> None:
    """Raise ``ConfigError`` for what is no rate in (0, 1)."""
    if not 0 < target_fpr < 1:
        raise ConfigError(f"The target false-reject rate is {target_fpr}; give a number between 0 and 1.")


def _require_finite(scores: NDArray[np.float32], map_maxima: NDArray[np.float32]) -> None:
    if not len(scores) or not np.isfinite(scores).all() or not np.isfinite(map_maxima).all():
        raise ConfigError("The calibration images have no finite scores; check the images and the model.")


def _stats(scores: NDArray[np.float32]) -> ScoreStats:
    return ScoreStats(min=float(scores.min()), median=float(np.median(scores)), max=float(scores.max()))


def _thresholds(image: float, pixel: float) -> Thresholds:
    if min(image, pixel) <= 0:
        raise ConfigError("The calibration images score zero: the bank has seen them; give images that were held out.")
    return Thresholds(image=image, pixel=pixel)


def _raised(scores: NDArray[np.float32], rank: int) -> float:
    return float(np.sort(scores)[rank - 1]) * (1 + THRESHOLD_MARGIN)


def _best_f1(
    labels: NDArray[np.bool_], values: NDArray[np.float32], counts: NDArray[np.int64] | None = None
) -> tuple[float, float]:
    """The threshold of the highest F1, midway between the values it parts, and that F1; ``counts`` of each value."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, cuts = precision_recall_curve(labels, values, sample_weight=counts)
    scores = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    # scikit-learn calls values at the cut defective; ours have to be above it. The last point has no cut.
    best = int(scores[:-1].argmax())
    below = values[values < cuts[best]]
    lower = float(below.max()) if len(below) else 0.0
    return (lower + float(cuts[best])) / 2, float(scores[best])
