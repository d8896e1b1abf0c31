"""What a line may ask for on top of the bundle, and what that makes of a score."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FrameError
from ..verdict import Thresholds, Verdict
from .regions import IgnoreMask
from .result import InspectionResult, Roi

__all__ = ["LineRules", "cut", "forgive_small", "visible_score"]


@dataclass(frozen=True)
class LineRules:
    """How a line wants its frames judged; everything is the bundle's own where it is left out.

    Attributes:
        roi: the part of each frame to inspect, as x, y, width, height in pixels; the whole frame when absent.
        ignore: polygons, in fractions of the frame, within which nothing counts.
        min_defect_area: in frame pixels; a part whose defects are all smaller is not NG.
        thresholds: limits in place of the bundle's.
        check_sanity: refuse frames that are unlike the good images; a flat one is refused in any case.
    """

    roi: Roi | None = None
    ignore: IgnoreMask | None = None
    min_defect_area: float = 0.0
    thresholds: Thresholds | None = None
    check_sanity: bool = True


def visible_score(
    score: float, model_map: NDArray[np.float32], hidden: NDArray[np.bool_], thresholds: Thresholds
) -> float:
    """The image score of what is not hidden, as ``InspectionResult.pred_score`` explains it."""
    highest, visible = float(model_map.max()), float(model_map[~hidden].max())
    # Also when a number is not finite: the score then stays what it is, and NaN is an ERROR.
    if not visible < highest:
        return score
    return min(score, max(score * visible / highest, thresholds.image * visible / thresholds.pixel))


def forgive_small(result: InspectionResult) -> InspectionResult:
    """No NG for defects that are all smaller than the smallest that counts; without any region NG stays."""
    if result.pred_mask.any() or not (result.anomaly_map > result.thresholds.pixel).any():
        return result
    verdict = Verdict.OK if result.thresholds.warn is None else Verdict.WARN
    reason = f"No defect reaches {result.min_defect_area:g} pixels."
    return replace(result, verdict=verdict, reason=reason)


def cut(frame: NDArray[Any], roi: Roi) -> NDArray[Any]:
    """The region of interest of a frame; raises ``FrameError`` when it does not fit."""
    if frame.ndim < 2:
        return frame  # preprocess says what is wrong with it
    x, y, width, height = roi
    if x < 0 or y < 0 or y + height > frame.shape[0] or x + width > frame.shape[1]:
        raise FrameError(
            f"The region of interest {x},{y},{width},{height} does not fit a frame of "
            f"{frame.shape[1]}x{frame.shape[0]} pixels; give one that does."
        )
    return frame[y : y + height, x : x + width]
