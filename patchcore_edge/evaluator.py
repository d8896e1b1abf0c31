"""How well a model tells good from bad: scikit-learn's metrics on its raw scores and maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.verdict import Thresholds

from .data import Batch

__all__ = ["Evaluation", "Scores", "collect_scores", "evaluate"]


@dataclass(frozen=True)
class Scores:
    """Raw results of n images.

    Attributes:
        paths: the files.
        kinds: the name of each file's folder: ``good`` or a defect.
        labels: ``[n]`` bool, True for defective.
        scores: ``[n]`` float32 raw image scores.
        map_maxima: ``[n]`` float32 largest value of each raw map.
        maps: n raw maps ``[H,W]``.
        masks: n defect masks ``[H,W]``; None where the data has none for an image.
    """

    paths: list[Path]
    kinds: list[str]
    labels: NDArray[np.bool_]
    scores: NDArray[np.float32]
    map_maxima: NDArray[np.float32]
    maps: list[NDArray[np.float32]]
    masks: list[NDArray[np.bool_] | None]


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a test set; None where the data cannot give one.

    Attributes:
        image_auroc, image_aupr: over the image scores; need good and defective images.
        image_f1_max: best F1 that any threshold reaches; a property of the ranking, not a threshold to use.
        pixel_auroc: over all pixels; needs masks for every defective image.
        false_reject_rate: share of good images above the calibrated threshold.
        recall: share of defective images above it.
        f1: at the calibrated threshold.
    """

    images: int
    good: int
    defective: int
    image_auroc: float | None
    image_aupr: float | None
    image_f1_max: float | None
    pixel_auroc: float | None
    threshold: float | None
    false_reject_rate: float | None
    recall: float | None
    f1: float | None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dict(vars(self))


def collect_scores(batches: Iterable[Batch]) -> Scores:
    """Bring the engine's predictions together."""
    result = Scores([], [], np.zeros(0, np.bool_), np.zeros(0, np.float32), np.zeros(0, np.float32), [], [])
    labels: list[NDArray[np.bool_]] = []
    scores: list[NDArray[np.float32]] = []
    for batch in batches:
        assert batch.pred_score is not None
        assert batch.anomaly_map is not None
        result.paths.extend(batch.image_path)
        result.maps.extend(batch.anomaly_map[:, 0].numpy())
        result.masks.extend([None] * len(batch.image_path) if batch.gt_mask is None else list(batch.gt_mask.numpy()))
        labels.append(batch.gt_label.numpy())
        scores.append(batch.pred_score.numpy())
    return Scores(
        result.paths,
        [path.parent.name for path in result.paths],
        np.concatenate(labels),
        np.concatenate(scores),
        np.array([one.max() for one in result.maps], np.float32),
        result.maps,
        result.masks,
    )


def evaluate(scores: Scores, thresholds: Thresholds | None) -> Evaluation:
    """Metrics of collected scores, with rates at the thresholds where there are any.

    Raises:
        DataError: a score is not a finite number.
    """
    if not np.isfinite(scores.scores).all():
        raise DataError(f"{scores.paths[int(np.argmin(np.isfinite(scores.scores)))]} has no finite score.")
    labels, values = scores.labels, scores.scores
    both = bool(labels.any() and not labels.all())
    flagged = None if thresholds is None else values > thresholds.image
    return Evaluation(
        images=len(labels),
        good=int((~labels).sum()),
        defective=int(labels.sum()),
        image_auroc=float(roc_auc_score(labels, values)) if both else None,
        image_aupr=float(average_precision_score(labels, values)) if both else None,
        image_f1_max=_best_f1(labels, values) if both else None,
        pixel_auroc=_pixel_auroc(scores),
        threshold=None if thresholds is None else thresholds.image,
        false_reject_rate=None if flagged is None or labels.all() else float(flagged[~labels].mean()),
        recall=None if flagged is None or not labels.any() else float(flagged[labels].mean()),
        f1=None if flagged is None or not labels.any() else _f1(labels, flagged),
    )


def _best_f1(labels: NDArray[np.bool_], values: NDArray[np.float32]) -> float:
    precision, recall, _ = precision_recall_curve(labels, values)
    return float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)))


def _f1(labels: NDArray[np.bool_], flagged: NDArray[np.bool_]) -> float:
    return float(2 * (labels & flagged).sum() / (labels.sum() + flagged.sum()))


def _pixel_auroc(scores: Scores) -> float | None:
    masks = [mask for mask in scores.masks if mask is not None]
    if len(masks) < len(scores.masks) or not any(mask.any() for mask in masks):
        return None
    return float(roc_auc_score(np.stack(masks).ravel(), np.stack(scores.maps).ravel()))
