"""What other thresholds would do, as rows that a person can choose from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.bundle.manifest import CalibrationFacts

from ..metrics.scores import Scores

__all__ = ["Choice", "broken_promise", "choices", "few"]

_ROWS = 12
_DOUBT = 0.01


@dataclass(frozen=True)
class Choice:
    """A threshold, what the calibration expects of it, and what it does to the test images.

    Attributes:
        expected, bound: false-reject rate to expect of new good parts, and what it stays below with 95 % confidence.
        synthetic, labelled: share of the calibration's synthetic and labelled defects above it; None without any.
        rejected, found: share of the good and of the defective test images above it; None without any.
        is_present: whether it is the threshold in use.
    """

    threshold: float
    expected: float
    bound: float
    synthetic: float | None
    labelled: float | None
    rejected: float | None
    found: float | None
    is_present: bool


def choices(facts: CalibrationFacts, threshold: float, scores: Scores) -> list[Choice]:
    """The points of a calibration's trade-off by rising threshold, with the one in use; none where it has none.

    Args:
        facts: of the calibration.
        threshold: in use, of the raw image score: the one that the calibration set.
        scores: of the test images.
    """
    good, defective = scores.scores[~scores.labels], scores.scores[scores.labels]
    return [
        Choice(
            point.threshold,
            point.expected_fpr,
            point.fpr_upper_bound,
            point.synthetic_recall,
            point.labelled_recall,
            _share_above(good, point.threshold),
            _share_above(defective, point.threshold),
            point.threshold == threshold,
        )
        for point in facts.choices(threshold)
    ]


def few(rows: list[Choice], count: int = _ROWS) -> list[Choice]:
    """About ``count`` of the rows, spread over the orders of magnitude of the expected rate, and the one in use."""
    if len(rows) <= count:
        return rows
    rates = np.log([max(row.expected, 1e-6) for row in rows])
    wanted = np.linspace(rates.min(), rates.max(), count)
    kept = {int(np.abs(rates - rate).argmin()) for rate in wanted}
    return [row for index, row in enumerate(rows) if index in kept or row.is_present]


def broken_promise(facts: CalibrationFacts, rejected: int, good: int) -> str:
    """A sentence where more good test images are rejected than the calibration's bound explains; else empty.

    Args:
        facts: of the calibration.
        rejected, good: how many of how many good test images are above the threshold.
    """
    # Imported where it is used: it takes a second, and a fit does without.
    from scipy.stats import binom

    if not good or binom.sf(rejected - 1, good, facts.fpr_upper_bound) > _DOUBT:
        return ""
    return (
        f"{rejected} of {good} good test parts are rejected ({rejected / good:.1%}), where the calibration's bound is "
        f"{facts.fpr_upper_bound:.1%}: the test parts are not like those that the threshold comes from. Look for "
        "another lot, lamp or camera, and calibrate with good parts of each."
    )


def _share_above(values: NDArray[np.float32], threshold: float) -> float | None:
    return float((values > threshold).mean()) if len(values) else None
