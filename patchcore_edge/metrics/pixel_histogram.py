"""Metrics of all pixels of a test set, however many images it has: what they need is counted as the maps come.

A raw score is counted by the upper bits of its float32 number, which for numbers that are not negative stand in the
order of the numbers themselves. So the bins need no range that would have to be known beforehand, and each is narrower
than 2⁻¹⁵ of the scores in it: finer than the deviations between two devices. Two scores in one bin count as equal.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.errors import DataError

__all__ = ["PixelHistogram"]

_DROPPED_BITS = 8
_BINS = 1 << (31 - _DROPPED_BITS)


class PixelHistogram:
    """How many good and defective pixels have which raw score.

    Attributes:
        good, defective: ``[2²³]`` int64 pixels per bin. Bins of scores that never come are never touched, and untouched
            memory is not used: a few hundred KiB per factor of two between the scores.
    """

    def __init__(self) -> None:
        self.good = np.zeros(_BINS, np.int64)
        self.defective = np.zeros(_BINS, np.int64)
        self._overlap = np.zeros(_BINS)
        self._regions = 0

    @classmethod
    def of(cls, maps: Iterable[NDArray[np.float32]], masks: Iterable[NDArray[np.bool_]]) -> PixelHistogram:
        """The counts of n maps and masks, ``[H,W]`` each."""
        counts = cls()
        for one, mask in zip(maps, masks, strict=True):
            counts.add(one, mask)
        return counts

    def add(self, raw: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        """Count an image.

        Args:
            raw: ``[H,W]`` raw map.
            mask: ``[H,W]`` True for defective; pixels that touch at a corner are one region.

        Raises:
            DataError: the map holds something other than finite numbers from 0.
        """
        if not (np.isfinite(raw).all() and raw.min() >= 0):
            raise DataError("An anomaly map holds what is no distance; check the image and the model.")
        # Adding 0 turns -0 into 0.
        bins = (np.ascontiguousarray(raw) + np.float32(0)).view(np.uint32) >> _DROPPED_BITS
        np.add.at(self.good, bins[~mask], 1)
        if not mask.any():
            return
        # Imported where it is used: it takes long, and a fit does without.
        from scipy import ndimage

        regions, count = ndimage.label(mask, structure=np.ones((3, 3)))
        np.add.at(self.defective, bins[mask], 1)
        np.add.at(self._overlap, bins[mask], 1 / np.bincount(regions.ravel())[regions[mask]])
        self._regions += count

    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], int]:
        """``[m]`` bins that are not empty; ``[m, 2]`` good and defective pixels; ``[m]`` overlap; how many regions."""
        bins = np.flatnonzero((self.good > 0) | (self.defective > 0))
        pixels = np.stack([self.good[bins], self.defective[bins]], 1)
        return bins, pixels, self._overlap[bins], self._regions

    def add_counts(
        self, bins: NDArray[np.int64], pixels: NDArray[np.int64], overlap: NDArray[np.float64], regions: int
    ) -> None:
        """Add the counts of other images; bins may come more than once."""
        np.add.at(self.good, bins, pixels[:, 0])
        np.add.at(self.defective, bins, pixels[:, 1])
        np.add.at(self._overlap, bins, overlap)
        self._regions += regions

    @property
    def has_both(self) -> bool:
        """Whether there are good and defective pixels."""
        return bool(self.good.any() and self.defective.any())

    def samples(self) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.int64]]:
        """Labels, raw scores (each its bin's lower end, ascending by label) and numbers of pixels."""
        good, defective = np.flatnonzero(self.good), np.flatnonzero(self.defective)
        values = (np.r_[good, defective].astype(np.uint32) << _DROPPED_BITS).view(np.float32)
        labels = np.r_[np.zeros(len(good), np.bool_), np.ones(len(defective), np.bool_)]
        return labels, values, np.r_[self.good[good], self.defective[defective]]

    def auroc(self) -> float:
        """Area under the ROC over all pixels."""
        from sklearn.metrics import roc_auc_score

        labels, values, pixels = self.samples()
        return float(roc_auc_score(labels, values, sample_weight=pixels))

    def aupro(self, fpr_limit: float) -> float:
        """Area under the per-region overlap, over the false-positive rate up to a limit (Bergmann et al. 2021).

        The overlap of a threshold is the share of each connected defect region that is above it, averaged over the
        regions, so that small defects count as much as large ones.

        Args:
            fpr_limit: share of defect-free pixels above the threshold at which the area ends, in (0, 1].

        Returns:
            the area divided by ``fpr_limit``: in [0, 1], 1 for a perfect map.
        """
        met = np.flatnonzero((self.good > 0) | (self.defective > 0))[::-1]
        false_positives = np.r_[0.0, np.cumsum(self.good[met]) / self.good[met].sum()]
        overlap = np.r_[0.0, np.cumsum(self._overlap[met]) / self._regions]
        within = int(np.searchsorted(false_positives, fpr_limit, side="right"))
        x = np.r_[false_positives[:within], fpr_limit]
        y = np.r_[overlap[:within], np.interp(fpr_limit, false_positives, overlap)]
        return float(np.trapezoid(y, x) / fpr_limit)
