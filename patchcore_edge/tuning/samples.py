"""The pictures that recipes are judged on: good ones, and defects made on them, the same for every size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.images.preprocess import Image, PreprocessSpec, preprocess

from ..data.dataset import ImageDataset, ImageItem
from ..data.synthetic_defects import KINDS, SyntheticDefect, make_defects

__all__ = ["Defects", "made_defects"]

_SEED = 11
"""Not `calibrate`'s: a recipe is not to be chosen on the very defects that its thresholds are described by."""


class Defects:
    """Synthetic defects that every size sees alike: they are on the part, not in the model's pixels.

    Args:
        defects: at the largest size, or the photos' own.
    """

    def __init__(self, defects: Sequence[SyntheticDefect]) -> None:
        self.defects = tuple(defects)

    def __len__(self) -> int:
        return len(self.defects)

    @property
    def sources(self) -> NDArray[np.int64]:
        """``[m]`` the good image that each defect is on."""
        return np.array([defect.source for defect in self.defects], np.int64)

    @property
    def kinds(self) -> NDArray[np.int64]:
        """``[m]`` number of each defect's kind."""
        return np.array([KINDS.index(defect.kind) for defect in self.defects], np.int64)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """``[m]`` 0, 1 or 2: whether each is among the small, the middling or the large third by area."""
        areas = [int(defect.mask.sum()) for defect in self.defects]
        return np.digitize(areas, np.quantile(areas, [1 / 3, 2 / 3])) if areas else np.zeros(0, np.int64)

    def dataset(self, spec: PreprocessSpec) -> ImageDataset:
        """Them as the model sees them."""
        items = [ImageItem(Path(f"synthetic-{place}"), "synthetic") for place in range(len(self))]
        by_path = {item.path: defect.image for item, defect in zip(items, self.defects, strict=True)}
        seen = spec.looking_at(None)  # the region was cut out when the good images were decoded
        return ImageDataset(items, spec, lambda path: preprocess(by_path[path], seen))

    def coverage(self, grid: tuple[int, int]) -> NDArray[np.float32]:
        """``[m, P]`` the share of each patch that the defect covers."""
        rows, columns = grid
        shares = [
            cv2.resize(defect.mask.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA).ravel()
            for defect in self.defects
        ]
        return np.stack(shares) if shares else np.zeros((0, rows * columns), np.float32)


def made_defects(
    images: Sequence[Image], per_image: int, cell: int, hidden: NDArray[np.bool_] | None = None
) -> Defects:
    """Defects on good images.

    Args:
        images: HxWx3 uint8 BGR at the largest size, or the photos' own.
        per_image: how many on each.
        cell: side in pixels of the smallest defect.
        hidden: HxW bool, where nothing counts.
    """
    return Defects(list(make_defects(images, per_image, _SEED, cell=cell, hidden=hidden)))
