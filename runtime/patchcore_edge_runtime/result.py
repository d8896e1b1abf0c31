"""What one inspection returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .preprocess import PreprocessSpec
from .verdict import Thresholds, Verdict

__all__ = ["InspectionResult", "Roi", "Timings"]

Roi = tuple[int, int, int, int]
"""A rectangle in frame pixels as OpenCV writes it: x, y, width, height."""


@dataclass(frozen=True)
class Timings:
    """Milliseconds per stage."""

    preprocess_ms: float = 0.0
    inference_ms: float = 0.0

    @property
    def total_ms(self) -> float:
        """From frame to score and map."""
        return self.preprocess_ms + self.inference_ms


@dataclass(frozen=True)
class InspectionResult:
    """Verdict, scores and map of one frame.

    Attributes:
        verdict: OK, WARN, NG or ERROR.
        reason: why the verdict is ERROR; empty otherwise.
        pred_score: raw image score; NaN with ERROR.
        thresholds: the limits that the score was judged by.
        frame_size: height and width of the frame in pixels.
        roi: the part of the frame that was inspected.
        model_id: name and weights' digest of the bundle.
        model_map: float32 raw map of the model's input size; None with ERROR.
        preprocess: how the frame became the model's input, which is the way back from map to frame.
    """

    verdict: Verdict
    reason: str
    pred_score: float
    thresholds: Thresholds
    frame_size: tuple[int, int]
    roi: Roi
    timings: Timings
    model_id: str
    preprocess: PreprocessSpec = field(repr=False)
    model_map: NDArray[np.float32] | None = field(repr=False)

    @property
    def pred_label(self) -> bool:
        """True for an anomalous part (NG)."""
        return self.verdict is Verdict.NG

    @property
    def normalized_score(self) -> float:
        """The score on [0, 1] with the threshold at 0.5; NaN with ERROR."""
        return float("nan") if self.verdict is Verdict.ERROR else self.thresholds.normalize(self.pred_score)

    @cached_property
    def anomaly_map(self) -> NDArray[np.float32]:
        """HxW float32 raw scores in frame coordinates; zero where the model did not look."""
        full = np.zeros(self.frame_size, np.float32)
        if self.model_map is not None:
            x, y, width, height = self.seen_box
            full[y : y + height, x : x + width] = cv2.resize(
                self.model_map, (width, height), interpolation=cv2.INTER_LINEAR
            )
        return full

    @property
    def seen_box(self) -> Roi:
        """The part of the frame that reached the model: the region of interest less what the centre crop took."""
        x, y, width, height = self.roi
        inner_x, inner_y, inner_width, inner_height = self.preprocess.crop_box(height, width)
        return x + inner_x, y + inner_y, inner_width, inner_height

    @cached_property
    def pred_mask(self) -> NDArray[np.bool_]:
        """HxW bool in frame coordinates: where the map is above the pixel threshold."""
        return np.asarray(self.anomaly_map > self.thresholds.pixel, np.bool_)

    def as_record(self) -> dict[str, Any]:
        """The result as plain JSON values, without the map."""
        failed = self.verdict is Verdict.ERROR
        return {
            "verdict": str(self.verdict),
            "reason": self.reason,
            "pred_score": None if failed else self.pred_score,
            "normalized_score": None if failed else self.normalized_score,
            "threshold": self.thresholds.image,
            "roi": list(self.roi),
            "preprocess_ms": round(self.timings.preprocess_ms, 3),
            "inference_ms": round(self.timings.inference_ms, 3),
            "model_id": self.model_id,
        }
