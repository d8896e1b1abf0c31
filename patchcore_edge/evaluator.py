"""How well a model tells good from bad: scikit-learn's metrics on its raw scores and maps, and AUPRO."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.verdict import Thresholds

from .data.batch import Batch

__all__ = ["AUPRO_FPR_LIMIT", "Evaluation", "Evaluator", "Scores", "aupro", "collect_scores", "evaluate"]

AUPRO_FPR_LIMIT = 0.3
"""False-positive rate up to which AUPRO integrates, as in MVTec AD's paper (Bergmann et al. 2021, section 5)."""


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
        aupro: per-region overlap up to a false-positive rate of 0.3; needs the same.
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
    aupro: float | None
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
        if batch.gt_label is None:
            raise DataError("The images are not labelled good or defective; scores of such images cannot be measured.")
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


def evaluate(scores: Scores, thresholds: Thresholds | None, fpr_limit: float = AUPRO_FPR_LIMIT) -> Evaluation:
    """Metrics of collected scores, with rates at the thresholds where there are any.

    Raises:
        DataError: a score is not a finite number.
    """
    if not np.isfinite(scores.scores).all():
        raise DataError(f"{scores.paths[int(np.argmin(np.isfinite(scores.scores)))]} has no finite score.")
    labels, values = scores.labels, scores.scores
    pixel_auroc, region_overlap = _pixel_metrics(scores, fpr_limit)
    both = bool(labels.any() and not labels.all())
    flagged = None if thresholds is None else values > thresholds.image
    return Evaluation(
        images=len(labels),
        good=int((~labels).sum()),
        defective=int(labels.sum()),
        image_auroc=float(roc_auc_score(labels, values)) if both else None,
        image_aupr=float(average_precision_score(labels, values)) if both else None,
        image_f1_max=_best_f1(labels, values) if both else None,
        pixel_auroc=pixel_auroc,
        aupro=region_overlap,
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


def _pixel_metrics(scores: Scores, fpr_limit: float) -> tuple[float | None, float | None]:
    """AUROC and AUPRO; None unless every image has a mask, and some pixel is defective and some is not."""
    known = [mask for mask in scores.masks if mask is not None]
    if len(known) < len(scores.masks) or not any(mask.any() for mask in known) or all(mask.all() for mask in known):
        return None, None
    masks, maps = np.stack(known), np.stack(scores.maps)
    return float(roc_auc_score(masks.ravel(), maps.ravel())), aupro(maps, masks, fpr_limit)


def aupro(maps: NDArray[np.float32], masks: NDArray[np.bool_], fpr_limit: float = AUPRO_FPR_LIMIT) -> float:
    """Area under the per-region overlap, over the false-positive rate up to a limit (Bergmann et al. 2021).

    The overlap of a threshold is the share of each connected defect region that is above it, averaged over the
    regions, so that small defects count as much as large ones.

    Args:
        maps: ``[n,H,W]`` raw maps.
        masks: ``[n,H,W]`` defect masks; good images have empty ones. Pixels that touch at a corner are connected.
        fpr_limit: share of defect-free pixels above the threshold at which the area ends, in (0, 1].

    Returns:
        the area divided by ``fpr_limit``: in [0, 1], 1 for a perfect map.
    """
    order = np.argsort(maps, axis=None)[::-1]
    ranked = maps.ravel()[order]
    last_of_ties = np.r_[ranked[1:] != ranked[:-1], True]
    del ranked
    normal = ~masks.ravel()[order]
    false_positives = np.r_[0.0, np.cumsum(normal)[last_of_ties] / normal.sum()]
    overlap = np.r_[0.0, np.cumsum(_region_weights(masks).ravel()[order])[last_of_ties]]
    within = int(np.searchsorted(false_positives, fpr_limit, side="right"))
    x = np.r_[false_positives[:within], fpr_limit]
    y = np.r_[overlap[:within], np.interp(fpr_limit, false_positives, overlap)]
    return float(np.trapezoid(y, x) / fpr_limit)


def _region_weights(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What each pixel adds to the mean overlap: one over its region's size, over the number of regions."""
    weights = np.zeros(masks.shape)
    regions = 0
    for mask, weight in zip(masks, weights, strict=True):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        sizes = np.bincount(labels.ravel())
        weight[mask] = 1 / sizes[labels[mask]]
        regions += count
    return weights / regions


class Evaluator:
    """The metrics that ``Engine.test`` computes.

    Args:
        fpr_limit: where AUPRO ends, in (0, 1].

    Raises:
        ConfigError: the limit is not in (0, 1].
    """

    def __init__(self, fpr_limit: float = AUPRO_FPR_LIMIT) -> None:
        if not 0 < fpr_limit <= 1:
            raise ConfigError(f"AUPRO's limit of the false-positive rate is {fpr_limit}; give a number in (0, 1].")
        self.fpr_limit = fpr_limit

    def __call__(self, scores: Scores, thresholds: Thresholds | None = None) -> Evaluation:
        """See ``evaluate``."""
        return evaluate(scores, thresholds, self.fpr_limit)
