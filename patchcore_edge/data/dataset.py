"""Labelled image files, decoded and preprocessed on demand.

Files become pixels by ``read_image`` (turned upright by EXIF; alpha dropped; palettes resolved) and model inputs by
``preprocess`` (grey repeated to three channels, 16 bit divided by 257, resized). Any other depth is an error.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from patchcore_edge_runtime.errors import DataError, FrameError
from patchcore_edge_runtime.images.files import read_image
from patchcore_edge_runtime.images.preprocess import Image, PreprocessSpec, preprocess

from .batch import Batch

__all__ = ["ImageDataset", "ImageItem"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageItem:
    """One image file.

    Attributes:
        label: the kind of part: ``good``, the name of a defect, or None where nothing is known.
        mask: the file of its defect mask, if any.
        batch: lot, day, camera …; "" where it is not known.
    """

    path: Path
    label: str | None = "good"
    mask: Path | None = None
    batch: str = ""

    @property
    def is_defective(self) -> bool:
        """Whether the label is the name of a defect."""
        return self.label not in ("good", None)


@dataclass(frozen=True)
class _Sample:
    item: ImageItem
    image: Image
    mask: NDArray[np.bool_] | None


class ImageDataset:
    """A sequence of image files that all pass through the runtime's preprocessing.

    Attributes:
        items: the files; after ``batches`` without those that could not be read.
        skipped: what could not be read, and why.
    """

    def __init__(self, items: Sequence[ImageItem], spec: PreprocessSpec) -> None:
        self.items = list(items)
        self.spec = spec
        self.skipped: list[tuple[ImageItem, str]] = []

    def __len__(self) -> int:
        return len(self.items)

    def image(self, index: int) -> Image:
        """The model-size uint8 BGR pixels of an image.

        Raises:
            DataError: it cannot be read or is too small.
        """
        return self._pixels(self.items[index].path)

    def mask(self, index: int) -> NDArray[np.bool_] | None:
        """The defect mask at model size, empty for a good image; None where there is no telling.

        Raises:
            DataError: it cannot be read.
        """
        return self._mask(self.items[index])

    def batches(self, batch_size: int, *, strict: bool = False) -> Iterator[Batch]:
        """All images in order, ``batch_size`` at a time.

        Files that cannot be read are left out, and named and counted at the end.

        Args:
            batch_size: images at a time; the last batch may be smaller.
            strict: make the first file that cannot be read an error.

        Raises:
            DataError: a file cannot be read, with ``strict``; or none can.
        """
        samples: list[_Sample] = []
        for item in list(self.items):
            try:
                samples.append(_Sample(item, self._pixels(item.path), self._mask(item)))
            except DataError as error:
                if strict:
                    raise
                self.skipped.append((item, str(error)))
            if len(samples) == batch_size:
                yield _batch(samples)
                samples = []
        if samples:
            yield _batch(samples)
        self._leave_out()

    def _leave_out(self) -> None:
        """Take the skipped files out of ``items``, so that indices are those of what was delivered."""
        lost = [(item, reason) for item, reason in self.skipped if item in self.items]
        if not lost:
            return
        if len(lost) == len(self.items):
            raise DataError(f"None of {len(lost)} images can be used; the first: {lost[0][1]}")
        for _, reason in lost:
            _log.warning("skipped: %s", reason)
        _log.warning("%d of %d images were skipped.", len(lost), len(self.items))
        gone = {item for item, _ in lost}
        self.items = [item for item in self.items if item not in gone]

    def _pixels(self, path: Path) -> Image:
        try:
            return preprocess(read_image(path), self.spec)
        except FrameError as error:
            raise DataError(f"{path}: {error}") from None

    def _mask(self, item: ImageItem) -> NDArray[np.bool_] | None:
        if item.mask is None:
            return np.zeros(self.spec.input_size, np.bool_) if item.label == "good" else None
        marked = read_image(item.mask) > 0
        try:
            # Through the same resize and crop as the image; any part of a pixel that is defective makes it so.
            pixels = preprocess(marked.astype(np.uint8) * 255, self.spec)
        except FrameError as error:
            raise DataError(f"{item.mask}: {error}") from None
        return np.asarray(pixels.max(2) > 0)


def _batch(samples: list[_Sample]) -> Batch:
    labelled = all(sample.item.label is not None for sample in samples)
    known = [sample.mask for sample in samples if sample.mask is not None]
    return Batch(
        image=torch.from_numpy(np.stack([sample.image for sample in samples])),
        gt_label=torch.tensor([sample.item.is_defective for sample in samples]) if labelled else None,
        gt_mask=torch.from_numpy(np.stack(known)) if len(known) == len(samples) else None,
        image_path=tuple(sample.item.path for sample in samples),
    )
