"""How a bundle's thresholds were found, and what other ones would do."""

from __future__ import annotations

import math
from pathlib import PureWindowsPath
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from .facts import Facts, Finite, NonNegative, Share, Text

__all__ = ["CalibrationFacts", "ScoreStats", "TradeOffPoint", "without_folders"]

_SAME = 1e-6


def without_folders(data: str) -> str:
    """The last part of a path, of whichever system it is; a text that is none stays."""
    return PureWindowsPath(data).name or data


class ScoreStats(Facts):
    """Raw image scores of the good images that the thresholds come from."""

    min: Finite
    median: Finite
    max: Finite


class TradeOffPoint(Facts):
    """What a threshold would do.

    Attributes:
        threshold: of the raw image score.
        expected_fpr: false-reject rate to expect of new good parts.
        fpr_upper_bound: with 95 % confidence the rate stays below this; for new batches, in expectation.
        synthetic_recall: share of the synthetic defects above it; None where none were made.
        labelled_recall: share of the labelled defects above it; None where there are none.
    """

    threshold: NonNegative
    expected_fpr: Share
    fpr_upper_bound: Share
    synthetic_recall: Share | None = None
    labelled_recall: Share | None = None


class CalibrationFacts(Facts):
    """How the thresholds were found (docs/thresholds.md).

    Attributes:
        data: name of the folder or the list that the images come from.
        method: ``held-out`` good images; ``cross-fitted``, training images scored by banks that had not seen them;
            or ``f1``, the highest F1 on images with labelled defects.
        defects: labelled defective images that were used.
        f1: of the image threshold on them; None without defects.
        n: different good parts scored that the memory bank had not seen; copies of one part count once.
        images: good images scored, copies included; 0 in bundles of schema 1 and 2, where it is ``n``.
        batches: known batches (lot, day, camera) that the images come from; 0 where none are known.
        target_fpr: the false-reject rate that was asked for, or that the default chose.
        rank: the threshold is the ``rank``-th smallest of the ``n`` scores.
        supported_fpr: expected false-reject rate of that threshold, (n + 1 - rank) / (n + 1).
        fpr_upper_bound: with 95 % confidence the false-reject rate stays below this.
        new_batch_fpr: bound of the false-reject rate to expect of a batch that nobody has seen; None where batches
            are not known.
        supports_target: whether ``n`` is enough for ``target_fpr``.
        scores: statistics of the ``n`` raw image scores.
        reason: why this rate, in one sentence.
        set_by: name of the image whose score is the threshold.
        threshold_without: the image threshold if that image were taken out; None where there is no telling.
        synthetic: synthetic defects that were scored.
        synthetic_recall: share of them above the image threshold; None without any.
        trade_off: what other thresholds would do, rising.
        warnings: what a person has to know before trusting the threshold, a sentence each.
    """

    data: Text
    method: Literal["held-out", "cross-fitted", "f1"] = "held-out"
    defects: NonNegativeInt = 0
    f1: Share | None = None
    n: PositiveInt
    images: NonNegativeInt = 0
    batches: NonNegativeInt = 0
    target_fpr: Share
    rank: PositiveInt
    supported_fpr: Share
    fpr_upper_bound: Share
    new_batch_fpr: Share | None = None
    supports_target: bool
    scores: ScoreStats
    reason: Text = ""
    set_by: Text = ""
    threshold_without: NonNegative | None = None
    synthetic: NonNegativeInt = 0
    synthetic_recall: Share | None = None
    trade_off: Annotated[tuple[TradeOffPoint, ...], Field(max_length=100)] = ()
    warnings: Annotated[tuple[Text, ...], Field(max_length=20)] = ()

    def choices(self, calibrated: float) -> tuple[TradeOffPoint, ...]:
        """The trade-off with the threshold that the calibration set, at the rate that was promised of it.

        The rate of its place among the scores may be lower; but the place was chosen by looking at them.

        Args:
            calibrated: that threshold.

        Returns:
            rising; empty where there is no trade-off.
        """
        same = [point for point in self.trade_off if math.isclose(point.threshold, calibrated, rel_tol=_SAME)]
        promised = TradeOffPoint(
            threshold=calibrated,
            expected_fpr=self.supported_fpr,
            fpr_upper_bound=self.fpr_upper_bound,
            synthetic_recall=self.synthetic_recall,
            labelled_recall=same[0].labelled_recall if same else None,
        )
        points = [*(point for point in self.trade_off if point not in same), promised] if self.trade_off else []
        return tuple(sorted(points, key=lambda point: point.threshold))
