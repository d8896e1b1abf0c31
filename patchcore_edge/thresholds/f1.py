"""The threshold of the highest F1 on images with labelled defects.

It is chosen by looking at the scores, so the bound on its false-reject rate has to hold for all thresholds at once
(Massart 1990, the one-sided Dvoretzky-Kiefer-Wolfowitz inequality).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.bundle.manifest import CalibrationFacts
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.shown import printable
from patchcore_edge_runtime.verdict import Thresholds

from ..metrics.f1 import best_f1
from ..metrics.pixel_histogram import PixelHistogram
from .facts import made, score_stats
from .good_scores import Caught, GoodScores
from .rank import CONFIDENCE, rank_for, rate_of, value_at
from .trade_off import recall, trade_off

__all__ = ["calibrate_on_defects"]


def calibrate_on_defects(
    scores: NDArray[np.float32],
    labels: NDArray[np.bool_],
    map_maxima: NDArray[np.float32],
    pixels: PixelHistogram | None,
    target_fpr: float,
    data: str,
    names: tuple[str, ...] = (),
    caught: Caught | None = None,
) -> tuple[Thresholds, CalibrationFacts]:
    """Thresholds of the highest F1 on images with labelled defects.

    Args:
        scores: ``[n]`` raw image scores, none of an image that the bank has seen.
        labels: ``[n]`` True for defective; both kinds are needed.
        map_maxima: ``[n]`` largest value of each image's raw map.
        pixels: of the same images; without, or without defective ones, the pixel threshold is that of ``calibrate``.
        target_fpr: for the pixel threshold without masks, in (0, 1).
        data: where the images come from, for the record.
        names: of the n files.
        caught: scores of synthetic defects, for the record.

    Raises:
        ConfigError: one kind is missing, the scores are unusable, or the model does not tell the kinds apart.
    """
    if labels.all() or not labels.any():
        raise ConfigError("The highest F1 needs good and defective validation images; give both.")
    good = GoodScores(scores[~labels], map_maxima[~labels])
    if not np.isfinite(scores).all() or not np.isfinite(map_maxima).all():
        raise ConfigError("The calibration images have no finite scores; check the images and the model.")
    image, f1 = best_f1(labels, scores)
    n, passed = len(good), int((good.scores <= image).sum())
    if not passed:
        raise ConfigError("The highest F1 would reject every good validation image; the model cannot tell the defects.")
    caught = Caught(caught.synthetic if caught else np.empty(0, np.float32), scores[labels])
    facts = CalibrationFacts(
        data=printable(data)[-1000:],
        method="f1",
        defects=int(labels.sum()),
        f1=f1,
        n=n,
        images=n,
        target_fpr=target_fpr,
        rank=passed,
        supported_fpr=rate_of(n, passed),
        fpr_upper_bound=min(1.0, 1 - passed / n + math.sqrt(math.log(1 / (1 - CONFIDENCE)) / (2 * n))),
        supports_target=rate_of(n, passed) <= target_fpr,
        scores=score_stats(good.scores),
        reason="the highest F1 on the labelled images",
        synthetic=len(caught.synthetic),
        synthetic_recall=recall(caught.synthetic, image),
        trade_off=trade_off(good, caught),
    )
    if pixels is not None and pixels.has_both:
        return made(image, best_f1(*pixels.samples())[0]), facts
    return made(image, value_at(good.maxima, min(rank_for(n, target_fpr), n))), facts
