"""What travels through the engine."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

__all__ = ["Batch"]


class Batch(NamedTuple):
    """N images of the model's size, with what is known and what was found.

    Attributes:
        image: ``[N,H,W,3]`` uint8 BGR.
        gt_label: ``[N]`` bool, True for a defective part.
        gt_mask: ``[N,H,W]`` bool defect masks; None where the data has none.
        image_path: the N files.
        pred_score: ``[N]`` float32 raw scores; None before prediction.
        anomaly_map: ``[N,1,H,W]`` float32 raw maps; None before prediction.
    """

    image: Tensor
    gt_label: Tensor
    gt_mask: Tensor | None
    image_path: tuple[Path, ...]
    pred_score: Tensor | None = None
    anomaly_map: Tensor | None = None
