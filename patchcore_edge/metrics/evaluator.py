"""How well a model tells good from bad: scikit-learn's metrics on its raw scores and maps, and AUPRO."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.verdict import Thresholds

from .f1 import best_f1, f1_of
from .pixel_histogram import PixelHistogram
from .scores import Scores, collect_scores

__all__ = [
    "AUPRO_FPR_LIMIT",
    "Evaluation",
    "Evaluator",
    "GroupRates",
    "Scores",
    "by_group",
    "collect_scores",
    "evaluate",
    "recall_at",
]

AUPRO_FPR_LIMIT = 0.3
"""False-positive rate up to which AUPRO integrates, as in MVTec AD's paper (Bergmann et al. 2021, section 5)."""


@dataclass(frozen=True)
class GroupRates:
    """What the threshold in use does to the images of one batch.

    Attributes:
        group: the batch's name, "" for the images whose batch is not known.
        good, defective: how many images of it there are.
        rejected, found: how many of those are above the threshold; None without a threshold.
        false_reject_rate, recall: the same as shares; None where there are no such images either.
    """

    group: str
    good: int
    defective: int
    rejected: int | None
    found: int | None
    false_reject_rate: float | None
    recall: float | None


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a test set; None where the data cannot give one.

    Attributes:
        image_auroc, image_aupr: over the image scores; need good and defective images.
        image_f1_max: best F1 that any threshold reaches; a property of the ranking, not a threshold to use.
        pixel_auroc: over all pixels of the images whose masks are known.
        aupro: per-region overlap up to a false-positive rate of 0.3; over the same.
        false_reject_rate: share of good images above the calibrated threshold.
        recall: share of defective images above it.
        f1: at the calibrated threshold.
        recall_at_1, recall_at_5: recall where at most 1 % and 5 % of the good test images are rejected (``recall_at``);
            read off the test images, so a property of the ranking, not of a threshold to use.
        groups: the rates of each batch; None where no image's batch is known.
        pixel_images: images that the pixel metrics are over: the good ones and those with a mask.
        pixel_masks: defective ones among those.
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
    recall_at_1: float | None = None
    recall_at_5: float | None = None
    groups: tuple[GroupRates, ...] | None = None
    pixel_images: int = 0
    pixel_masks: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        groups = None if self.groups is None else [asdict(rates) for rates in self.groups]
        return {**vars(self), "groups": groups}


def evaluate(scores: Scores, thresholds: Thresholds | None, fpr_limit: float = AUPRO_FPR_LIMIT) -> Evaluation:
    """Metrics of collected scores, with rates at the thresholds where there are any.

    Raises:
        DataError: a score is not a finite number.
    """
    # Imported where it is used: it takes a second, and a fit does without.
    from sklearn.metrics import average_precision_score, roc_auc_score

    if not np.isfinite(scores.scores).all():
        raise DataError(f"{scores.paths[int(np.argmin(np.isfinite(scores.scores)))]} has no finite score.")
    labels, values = scores.labels, scores.scores
    pixel_auroc, region_overlap = _pixel_metrics(scores.pixels, fpr_limit)
    both = bool(labels.any() and not labels.all())
    flagged = None if thresholds is None else values > thresholds.image
    return Evaluation(
        images=len(labels),
        good=int((~labels).sum()),
        defective=int(labels.sum()),
        image_auroc=float(roc_auc_score(labels, values)) if both else None,
        image_aupr=float(average_precision_score(labels, values)) if both else None,
        image_f1_max=best_f1(labels, values)[1] if both else None,
        pixel_auroc=pixel_auroc,
        aupro=region_overlap,
        threshold=None if thresholds is None else thresholds.image,
        false_reject_rate=None if flagged is None or labels.all() else float(flagged[~labels].mean()),
        recall=None if flagged is None or not labels.any() else float(flagged[labels].mean()),
        f1=None if flagged is None or not labels.any() else f1_of(labels, flagged),
        recall_at_1=recall_at(0.01, labels, values) if both else None,
        recall_at_5=recall_at(0.05, labels, values) if both else None,
        groups=by_group(scores, thresholds) if any(scores.groups) else None,
        pixel_images=0 if pixel_auroc is None else scores.pixel_images,
        pixel_masks=0 if pixel_auroc is None else scores.pixel_masks,
    )


def recall_at(rate: float, labels: NDArray[np.bool_], values: NDArray[np.float32]) -> float:
    """The highest recall of any threshold that rejects at most a share ``rate`` of these good images.

    An image is rejected when its score is above the threshold. Of n good images at most ⌊rate · n⌋ are, so that with
    fewer than 1 / ``rate`` of them none is.

    Args:
        rate: in [0, 1].
        labels: ``[n]`` True for defective; both kinds are needed.
        values: ``[n]`` raw image scores.
    """
    good = np.sort(values[~labels])[::-1]
    # Guards against 0.07 * 100 being 7.000000000000001, and the like below the number.
    allowed = int(rate * len(good) + 1e-9)
    return 1.0 if allowed >= len(good) else float((values[labels] > good[allowed]).mean())


def by_group(scores: Scores, thresholds: Thresholds | None) -> tuple[GroupRates, ...]:
    """The rates of each batch, in the order in which the batches come."""
    groups = np.array(scores.groups or [""] * len(scores.labels))
    return tuple(_rates(str(group), scores, groups == group, thresholds) for group in dict.fromkeys(groups))


def _rates(group: str, scores: Scores, chosen: NDArray[np.bool_], thresholds: Thresholds | None) -> GroupRates:
    good, defective = chosen & ~scores.labels, chosen & scores.labels
    counts = int(good.sum()), int(defective.sum())
    if thresholds is None:
        return GroupRates(group, *counts, None, None, None, None)
    above = scores.scores > thresholds.image
    hits = int((above & good).sum()), int((above & defective).sum())
    shares = (hit / count if count else None for hit, count in zip(hits, counts, strict=True))
    return GroupRates(group, *counts, *hits, *shares)


def _pixel_metrics(counts: PixelHistogram | None, fpr_limit: float) -> tuple[float | None, float | None]:
    """AUROC and AUPRO; None unless some pixel is defective and some is not."""
    if counts is None or not counts.has_both:
        return None, None
    return counts.auroc(), counts.aupro(fpr_limit)


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
