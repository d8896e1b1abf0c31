"""What a bundle's calibration says of the threshold that a line judges by."""

from __future__ import annotations

from typing import Any

from ..bundle.manifest import Manifest, TradeOffPoint
from ..verdict import Thresholds

__all__ = ["calibration_facts", "choices", "outlook"]


def calibration_facts(manifest: Manifest, thresholds: Thresholds) -> dict[str, Any]:
    """What the calibration says of the image threshold in use, as plain JSON values.

    Args:
        manifest: of the bundle that judges.
        thresholds: in use. For others than the calibrated ones the trade-off's neighbouring points are given: at most
            so many good parts rejected, at least so many defects caught; None beyond its ends.
    """
    facts, now = manifest.calibration, thresholds.image
    rates = (facts.supported_fpr, facts.fpr_upper_bound, facts.synthetic_recall)
    warnings = list(facts.warnings)
    if moved := _moved(manifest, now):
        below, above = _neighbours(manifest, now)
        fpr = (below.expected_fpr, below.fpr_upper_bound) if below else (None, None)
        rates = (*fpr, above.synthetic_recall if above else None)
        warnings.insert(0, moved)
    names = ("expected_fpr", "fpr_upper_bound", "synthetic_recall")
    trade_off = [point.model_dump() for point in choices(manifest)]
    return {"threshold": now, **dict(zip(names, rates, strict=True)), "warnings": warnings, "trade_off": trade_off}


def outlook(manifest: Manifest, thresholds: Thresholds) -> str:
    """What an image threshold other than the calibrated one does, in a sentence or two; empty for the calibrated one.

    Args:
        manifest: of the bundle that judges.
        thresholds: in use.
    """
    moved, points = _moved(manifest, thresholds.image), choices(manifest)
    if not moved:
        return ""
    if not points:
        return f"{moved} What that does is not known: the bundle holds no table of other thresholds."
    below, above = _neighbours(manifest, thresholds.image)
    if above is None:
        recall = points[-1].synthetic_recall
        caught = (
            "how many defects do is not known" if recall is None else f"of drawn defects fewer than {recall:.0%} do"
        )
        return f"{moved} No good part of the calibration scores so high; {caught}."
    rejected = f"more than {points[0].expected_fpr:.1%}" if below is None else f"at most {below.expected_fpr:.1%}"
    found = "" if above.synthetic_recall is None else f", and at least {above.synthetic_recall:.0%} of drawn defects NG"
    return f"{moved} Expect {rejected} of new good parts to be NG{found}."


def _moved(manifest: Manifest, now: float) -> str:
    """What to say of an image threshold that is not the calibrated one."""
    calibrated = _calibrated(manifest)
    return "" if now == calibrated else f"The image threshold is {now:.4g}; it was calibrated to {calibrated:.4g}."


def choices(manifest: Manifest) -> tuple[TradeOffPoint, ...]:
    """What image thresholds do, rising, as far as the calibration knows; see ``CalibrationFacts.choices``."""
    return manifest.calibration.choices(_calibrated(manifest))


def _calibrated(manifest: Manifest) -> float:
    """The image threshold that the calibration set, whatever was edited since."""
    changed = (edit.before for edit in manifest.history if edit.field == "thresholds.image")
    return next((value for value in changed if isinstance(value, float)), manifest.thresholds.image)


def _neighbours(manifest: Manifest, now: float) -> tuple[TradeOffPoint | None, TradeOffPoint | None]:
    """The points of the trade-off next to a threshold, below and above; None beyond its ends."""
    points = choices(manifest)
    below = max((point for point in points if point.threshold <= now), key=_threshold, default=None)
    above = min((point for point in points if point.threshold >= now), key=_threshold, default=None)
    return below, above


def _threshold(point: TradeOffPoint) -> float:
    return point.threshold
