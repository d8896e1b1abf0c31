"""Labelled image files, decoded and preprocessed on demand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from patchcore_edge_runtime.errors import DataError, FrameError
from patchcore_edge_runtime.preprocess import Image, PreprocessSpec, preprocess
from patchcore_edge_runtime.sources import read_image

from .batch import Batch

__all__ = ["ImageDataset", "ImageItem"]


@dataclass(frozen=True)
class ImageItem:
    """One image file: ``label`` is the kind of part (``good`` or a defect), ``mask`` its defect mask, if any."""

    path: Path
    label: str = "good"
    mask: Path | None = None

    @property
    def is_defective(self) -> bool:
        """Whether the label is anything but ``good``."""
        return self.label != "good"


class ImageDataset:
    """A sequence of image files that all pass through the runtime's preprocessing."""

    def __init__(self, items: Sequence[ImageItem], spec: PreprocessSpec) -> None:
        self.items = list(items)
        self.spec = spec

    def __len__(self) -> int:
        return len(self.items)

    def image(self, index: int) -> Image:
        """The model-size uint8 BGR pixels of an image.

        Raises:
            DataError: it cannot be read or is too small.
        """
        path = self.items[index].path
        try:
            return preprocess(read_image(path), self.spec)
        except FrameError as error:
            raise DataError(f"{path}: {error}") from None

    def mask(self, index: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]] | None:
        """The defect mask at model size; None for a defective image without one."""
        item = self.items[index]
        if item.mask is None:
            return None if item.is_defective else np.zeros(self.spec.input_size, np.bool_)
        # Through the same resize and crop as the image; any part of a pixel that is defective makes it so.
        mask = preprocess((read_image(item.mask) > 0).astype(np.uint8) * 255, self.spec)[..., 0]
        return np.asarray(mask > 0)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """All images in order, ``batch_size`` at a time."""
        for start in range(0, len(self), batch_size):
            yield self._batch(range(start, min(start + batch_size, len(self))))

    def _batch(self, indices: range) -> Batch:
        items = [self.items[i] for i in indices]
        masks = [self.mask(i) for i in indices]
        known = [mask for mask in masks if mask is not None]
        return Batch(
            image=torch.from_numpy(np.stack([self.image(i) for i in indices])),
            gt_label=torch.tensor([item.is_defective for item in items]),
            gt_mask=torch.from_numpy(np.stack(known)) if len(known) == len(masks) else None,
            image_path=tuple(item.path for item in items),
        )
