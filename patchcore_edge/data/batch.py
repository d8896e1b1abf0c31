"""What travels through the engine."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

__all__ = ["Batch"]


class Batch(NamedTuple):
    """N images of the model's size, with what is known and what was found.

    Attributes:
        image: ``[N,H,W,3]`` uint8 BGR; whatever else the model's pre-processor takes does as well.
        gt_label: ``[N]`` bool, True for a defective part; None where nothing is known.
        gt_mask: ``[N,H,W]`` bool defect masks, empty for good images and where ``has_mask`` is False; None where none
            is known.
        image_path: the N files; empty for images that come from none.
        pred_score: ``[N]`` float32 raw scores; None before prediction.
        anomaly_map: ``[N,1,H,W]`` float32 raw maps; None before prediction.
        pred_label: ``[N]`` bool, True for a defective part; None without thresholds.
        pred_mask: ``[N,H,W]`` bool; None without thresholds.
        has_mask: ``[N]`` bool, whether ``gt_mask`` says which pixels are defective; None where it does for all.
    """

    image: Tensor
    gt_label: Tensor | None = None
    gt_mask: Tensor | None = None
    image_path: tuple[Path, ...] = ()
    pred_score: Tensor | None = None
    anomaly_map: Tensor | None = None
    pred_label: Tensor | None = None
    pred_mask: Tensor | None = None
    has_mask: Tensor | None = None
