"""Verdicts, and the thresholds that turn a score into one."""

from __future__ import annotations

import math
from enum import StrEnum

from pydantic import ConfigDict, Field, model_validator

from .validation import Checked

__all__ = ["Thresholds", "Verdict"]


class Verdict(StrEnum):
    """The answer for one frame; everything that is not known to be good or bad is ``ERROR``."""

    OK = "OK"
    WARN = "WARN"
    NG = "NG"
    ERROR = "ERROR"


class Thresholds(Checked):
    """Limits on the raw outputs of the graph; a value *above* its limit is anomalous.

    Attributes:
        image: limit of ``pred_score``, the image's raw score.
        pixel: limit of ``anomaly_map``, the raw score of a pixel.
        warn: a lower limit of ``pred_score`` above which a part is reported as WARN; none unless asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: float = Field(gt=0, allow_inf_nan=False)
    pixel: float = Field(gt=0, allow_inf_nan=False)
    warn: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check(self) -> Thresholds:
        if self.warn is not None and self.warn >= self.image:
            raise ValueError(f"the WARN threshold {self.warn} must lie below the NG threshold {self.image}")
        return self

    def judge(self, score: float) -> Verdict:
        """The verdict for a raw image score; a score that is not a finite number is an ERROR."""
        if not math.isfinite(score):
            return Verdict.ERROR
        if score > self.image:
            return Verdict.NG
        return Verdict.WARN if self.warn is not None and score > self.warn else Verdict.OK

    def scaled(self, factor: float) -> Thresholds:
        """All limits times ``factor``."""
        warn = None if self.warn is None else self.warn * factor
        return Thresholds(image=self.image * factor, pixel=self.pixel * factor, warn=warn)

    def normalize(self, score: float) -> float:
        """A raw image score on [0, 1], the threshold at 0.5 and twice the threshold at 1."""
        return min(max(score / (2 * self.image), 0.0), 1.0)
