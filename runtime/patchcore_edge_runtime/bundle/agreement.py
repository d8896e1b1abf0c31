"""Thresholds stand in several places of a bundle; one that was changed in one of them only is no threshold.

This finds mistakes and clumsy hands. Who can write the folder can make all places agree: docs/security.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isclose

from ..errors import BundleError
from .manifest import Manifest

__all__ = ["check_agreement"]

_MARGIN = 1e-2
"""Thresholds lie a thousandth above the score that sets them."""
_FAR = 100.0
"""Image and pixel thresholds are of one scale: distances of patches, and the same smoothed."""
_MOVED = 10.0
"""What 8 bits may do to a threshold; the gate lets less pass."""


def check_agreement(manifest: Manifest, model_info: Mapping[str, str]) -> None:
    """Compare thresholds with the IR's ``model_info``, with the history, and with the calibration that made them.

    Args:
        manifest: of the bundle.
        model_info: of its IR, as ``model_info`` writes it.

    Raises:
        BundleError: they contradict each other.
    """
    for name in ("image", "pixel"):
        value, told = float(getattr(manifest.thresholds, name)), model_info.get(f"{name}_threshold", "")
        if not isclose(value, _number(told), rel_tol=1e-6):
            raise _contradiction(name, value, f"model.xml says {told[:40] or 'nothing'}")
    first = {name: _before_edits(manifest, name) for name in ("image", "pixel", "warn")}
    _check_calibration(manifest, first)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _before_edits(manifest: Manifest, name: str) -> float | None:
    """A threshold as it was exported; each edit begins where the one before it ended, and the last one ends now."""
    value: float | None = getattr(manifest.thresholds, name)
    for edit in reversed(manifest.history):
        if edit.field != f"thresholds.{name}":
            continue
        if edit.after != value:
            raise _contradiction(name, value, f"the history left it at {edit.after}")
        value = edit.before if isinstance(edit.before, float) else None
    return value


def _check_calibration(manifest: Manifest, first: Mapping[str, float | None]) -> None:
    image, pixel = first["image"], first["pixel"]
    if image is None or pixel is None:
        raise _contradiction("image", image, "the history takes it away")
    own = manifest.torch_thresholds
    calibrated, scores = (own.image if own else image), manifest.calibration.scores
    highest = scores.max * (1 + _MARGIN) if manifest.calibration.method != "f1" else max(scores.max, 0.0) * _FAR
    # Of equal scores near nothing no limit can be told.
    if not scores.min * (1 - _MARGIN) <= calibrated <= highest and scores.max > 0:
        raise _contradiction(
            "image", calibrated, f"it was calibrated on scores from {scores.min:.4g} to {scores.max:.4g}"
        )
    if own is not None and manifest.parity.passed and not image / _MOVED <= own.image <= image * _MOVED:
        raise _contradiction("image", image, f"torch's is {own.image:.4g}")
    # These the device has to give, whatever the calibration says.
    shown = max(golden.pred_score for golden in manifest.golden)
    if image > shown * _FAR:
        raise _contradiction("image", image, f"the highest score of a golden image is {shown:.4g}")
    if not image / _FAR <= pixel <= image * _FAR:
        raise _contradiction("pixel", pixel, f"the image threshold is {image:.4g}")


def _contradiction(name: str, value: float | None, other: str) -> BundleError:
    return BundleError(
        f"The bundle contradicts itself: its {name} threshold is {value}, but {other}; "
        "copy the bundle again, and change thresholds with `edit`, which keeps a history."
    )
