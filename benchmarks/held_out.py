"""A work fitted without every fifth training image: thresholds and search plans are found on those."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from patchcore_edge.data import DataModule, ImageDataset
from patchcore_edge.data.evenly_spaced import evenly_chosen
from patchcore_edge.engine import Engine
from patchcore_edge.models import Patchcore
from patchcore_edge.thresholds import calibrate
from patchcore_edge_runtime.verdict import Thresholds

from .works import Work

__all__ = ["TARGET_FPR", "Fitted", "deviation", "fit", "pixel_auroc", "thresholds"]

TARGET_FPR = 0.05
_HELD_OUT_EACH = 5


@dataclass(frozen=True)
class Fitted:
    """A fitted work.

    Attributes:
        train: what it was fitted on.
        held: ``[h,H,W,3]`` uint8 BGR, good images held out.
        test: ``[n,H,W,3]`` uint8 BGR.
        labels: ``[n]`` True for a defective test image.
        masks: ``[n,H,W]`` defects of the test images; None where the data have no masks.
    """

    work: Work
    model: Patchcore
    train: ImageDataset
    held: NDArray[np.uint8]
    test: NDArray[np.uint8]
    labels: NDArray[np.bool_]
    masks: NDArray[np.bool_] | None

    @property
    def frames(self) -> NDArray[np.uint8]:
        """Those held out, then those to test."""
        return np.concatenate([self.held, self.test])

    @property
    def title(self) -> str:
        """Heading of its section."""
        work, bank = self.work, len(self.model.model.memory_bank)
        return f"\n## {work.backbone}, {work.name}, {work.size} px, bank of {bank:,} ({work.ratio:.0%})\n"


def fit(work: Work, tests: int | None = None) -> Fitted:
    """Fit a work on the CPU; ``tests`` limits the test images, which are then evenly chosen."""
    held = work.data.train[::_HELD_OUT_EACH]
    chosen = [item for place, item in enumerate(work.data.train) if place % _HELD_OUT_EACH]
    data = DataModule(work.data.root, chosen, held, evenly_chosen(work.data.test, tests or len(work.data.test)))
    model = work.model()
    Engine("cpu").fit(model, data)
    spec = model.pre_processor.spec
    train, good, test = (DataModule.dataset(items, spec) for items in (chosen, held, data.test))
    masks = [test.mask(index) for index in range(len(test))]
    known = [mask for mask in masks if mask is not None]
    return Fitted(
        work,
        model,
        train,
        _frames(good),
        _frames(test),
        np.array([item.is_defective for item in data.test]),
        np.stack(known) if len(known) == len(masks) else None,
    )


def thresholds(scores: NDArray[np.floating[Any]], maxima: NDArray[np.floating[Any]]) -> Thresholds:
    """From the scores ``[h]`` and map maxima ``[h]`` of the images held out."""
    return calibrate(scores.astype(np.float32), maxima.astype(np.float32), TARGET_FPR, "held out")[0]


def pixel_auroc(fitted: Fitted, maps: NDArray[np.float32]) -> str:
    """Of the test images' maps ``[n,H,W]``; a dash without masks."""
    return "–" if fitted.masks is None else f"{roc_auc_score(fitted.masks.ravel(), maps.ravel()):.4f}"


def deviation(scores: NDArray[np.float64], base: NDArray[np.float64]) -> tuple[float, float]:
    """Median and largest of an image score's deviation, relative."""
    found = np.abs(scores - base) / base
    return float(np.median(found)), float(found.max())


def _frames(dataset: ImageDataset) -> NDArray[np.uint8]:
    return np.stack([dataset.image(index) for index in range(len(dataset))])
