"""Thresholds: from good images that the memory bank has not seen, or from labelled defects."""

from .calibrate import DEFAULT_FPR, calibrate, calibrate_good, calibrate_on_scores
from .f1 import calibrate_on_defects
from .facts import describe
from .good_scores import Caught, GoodScores
from .rank import THRESHOLD_MARGIN, require_rate

__all__ = [
    "DEFAULT_FPR",
    "THRESHOLD_MARGIN",
    "Caught",
    "GoodScores",
    "calibrate",
    "calibrate_good",
    "calibrate_on_defects",
    "calibrate_on_scores",
    "describe",
    "require_rate",
]
