"""What a bundle's calibration says of the threshold that a line judges by."""

from __future__ import annotations

from typing import Any

from ..bundle.manifest import Manifest, TradeOffPoint
from ..verdict import Thresholds

__all__ = ["calibration_facts"]


def calibration_facts(manifest: Manifest, thresholds: Thresholds) -> dict[str, Any]:
    """What the calibration says of the image threshold in use, as plain JSON values.

    Args:
        manifest: of the bundle that judges.
        thresholds: in use. For others than the calibrated ones the trade-off's neighbouring points are given: at most
            so many good parts rejected, at least so many defects caught; None beyond its ends.
    """
    facts = manifest.calibration
    changed = (edit.before for edit in manifest.history if edit.field == "thresholds.image")
    calibrated = next((value for value in changed if isinstance(value, float)), manifest.thresholds.image)
    now = thresholds.image
    rates = (facts.supported_fpr, facts.fpr_upper_bound, facts.synthetic_recall)
    warnings = list(facts.warnings)
    if now != calibrated:
        below = max((point for point in facts.trade_off if point.threshold <= now), key=_threshold, default=None)
        above = min((point for point in facts.trade_off if point.threshold >= now), key=_threshold, default=None)
        fpr = (below.expected_fpr, below.fpr_upper_bound) if below else (None, None)
        rates = (*fpr, above.synthetic_recall if above else None)
        warnings.insert(0, f"The image threshold is {now:.4g}; it was calibrated to {calibrated:.4g}.")
    names = ("expected_fpr", "fpr_upper_bound", "synthetic_recall")
    trade_off = [point.model_dump() for point in facts.trade_off]
    return {"threshold": now, **dict(zip(names, rates, strict=True)), "warnings": warnings, "trade_off": trade_off}


def _threshold(point: TradeOffPoint) -> float:
    return point.threshold
