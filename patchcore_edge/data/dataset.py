"""Labelled image files, decoded and preprocessed on demand.

Files become pixels by ``read_image`` (turned upright by EXIF; palettes resolved) and model inputs by ``preprocess``
(region of interest cut out, 16 bits by the declared depth, transparency laid on black, grey repeated to three channels,
resized). Any other depth is an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from patchcore_edge_runtime.errors import DataError, FrameError
from patchcore_edge_runtime.images.files import decode_image, read_image
from patchcore_edge_runtime.images.preprocess import Image, PreprocessSpec, as_bgr8, crop_roi, preprocess

from .batch import Batch
from .mask_pixels import Masks

__all__ = ["ImageDataset", "ImageItem", "decoded"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageItem:
    """One image file.

    Attributes:
        label: the kind of part: ``good``, the name of a defect, or None where nothing is known.
        mask: its defect mask, if any: a file, or a folder with the masks of this image alone.
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


def decoded(path: Path, spec: PreprocessSpec, data: bytes | None = None) -> tuple[Image, NDArray[Any]]:
    """The model-size uint8 BGR pixels of a file, and what they were made from: the photo or its region of interest.

    Args:
        path: image file.
        spec: the model's preprocessing.
        data: its bytes, where they have been read before.

    Raises:
        DataError: it cannot be read or is too small.
    """
    frame = read_image(path) if data is None else decode_image(data, path)
    try:
        image = preprocess(frame, spec)
    except FrameError as error:
        raise DataError(f"{path}: {error}") from None
    return image, frame if spec.roi is None else crop_roi(frame, spec.roi)


@dataclass(frozen=True)
class _Sample:
    item: ImageItem
    image: Image
    mask: NDArray[np.bool_] | None


class ImageDataset:
    """A sequence of image files that all pass through the runtime's preprocessing.

    Args:
        items: the files.
        spec: the model's preprocessing.
        pixels: gives the model-size pixels of a file, in place of decoding it (``DecodedFiles.pixels``).
        masks: of these items and others like them; of these alone when absent.
    """

    def __init__(
        self,
        items: Sequence[ImageItem],
        spec: PreprocessSpec,
        pixels: Callable[[Path], Image] | None = None,
        masks: Masks | None = None,
    ) -> None:
        self.items = tuple(items)
        self.spec = spec
        self._given = pixels
        self._masks = masks or Masks((item.path, item.mask) for item in items if item.mask is not None)

    def __len__(self) -> int:
        return len(self.items)

    def part(self, places: Sequence[int]) -> ImageDataset:
        """Some of the images."""
        return ImageDataset([self.items[place] for place in places], self.spec, self._given, self._masks)

    def image(self, index: int) -> Image:
        """The model-size uint8 BGR pixels of an image.

        Raises:
            DataError: it cannot be read or is too small.
        """
        return self._pixels(self.items[index].path)

    def photo(self, index: int, longest: int = 400) -> Image:
        """What of an image reaches the model, in its own shape: HxWx3 uint8 BGR whose longer side is about ``longest``.

        A smaller one is enlarged by a whole number, each pixel to a square.

        Raises:
            DataError: it cannot be read or is too small.
        """
        _, region = decoded(self.items[index].path, self.spec)
        x, y, width, height = self.spec.seen_box((0, 0, region.shape[1], region.shape[0]))
        seen = as_bgr8(region, self.spec.depth)[y : y + height, x : x + width]
        share = longest / max(height, width)
        if share >= 1:
            return np.asarray(seen).repeat(int(share), axis=0).repeat(int(share), axis=1)
        size = max(1, round(width * share)), max(1, round(height * share))
        return cv2.resize(seen, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)

    def mask(self, index: int) -> NDArray[np.bool_] | None:
        """The defect mask at model size, empty for a good image; None where there is no telling: no mask, one that
        marks nothing of a defective image, or something of a good one.

        Raises:
            DataError: it cannot be read, or does not fit its image.
        """
        return self._mask(self.items[index])

    def batches(
        self,
        batch_size: int,
        *,
        strict: bool = False,
        any_needed: bool = True,
        report: Callable[[list[str]], None] | None = None,
    ) -> Iterator[Batch]:
        """All images in order, ``batch_size`` at a time; those of a batch are its ``image_path``.

        Masks of another size than their images are refused before the first. Files that cannot be read are left out,
        and named and counted at the end.

        Args:
            batch_size: images at a time; the last batch may be smaller.
            strict: make the first file that cannot be read an error.
            any_needed: make it an error when none can be read.
            report: takes the reasons, one for each file left out, in place of ``report_lost``.

        Raises:
            DataError: a file cannot be read, with ``strict``; or none can; or a mask has another size than its image.
        """
        self._masks.require_fit()
        samples: list[_Sample] = []
        lost: list[str] = []
        for item in self.items:
            try:
                samples.append(_Sample(item, self._pixels(item.path), self._mask(item)))
            except DataError as error:
                if strict:
                    raise
                lost.append(str(error))
            if len(samples) == batch_size:
                yield _batch(samples)
                samples = []
        if samples:
            yield _batch(samples)
        (report or partial(self.report_lost, any_needed=any_needed))(lost)

    def report_lost(self, lost: Sequence[str], any_needed: bool = True, of: int | None = None) -> None:
        """Name and count the files that were left out.

        Args:
            lost: a reason for each.
            any_needed: make it an error when there are no others.
            of: how many there were; those of this dataset when None.

        Raises:
            DataError: there are none.
        """
        if not lost:
            return
        count = len(self.items) if of is None else of
        if any_needed and len(lost) == count:
            raise DataError(f"None of {len(lost)} images can be used; the first: {lost[0]}")
        for reason in lost:
            _log.warning("skipped: %s", reason)
        _log.warning("%d of %d images were skipped.", len(lost), count)

    def _pixels(self, path: Path) -> Image:
        return decoded(path, self.spec)[0] if self._given is None else self._given(path)

    def _mask(self, item: ImageItem) -> NDArray[np.bool_] | None:
        if item.mask is None:
            return np.zeros(self.spec.input_size, np.bool_) if item.label == "good" else None
        marked = self._masks.read(item.path, item.mask).marked
        if marked.any() == (item.label == "good"):
            return None
        try:
            # Through the same resize and crop as the image; any part of a pixel that is defective makes it so.
            pixels = preprocess(marked.astype(np.uint8) * 255, self.spec)
        except FrameError as error:
            raise DataError(f"{item.mask}: {error}") from None
        return np.asarray(pixels.max(2) > 0)


def _batch(samples: list[_Sample]) -> Batch:
    labelled = all(sample.item.label is not None for sample in samples)
    masks = [sample.mask for sample in samples]
    unknown = np.zeros(samples[0].image.shape[:2], np.bool_)
    return Batch(
        image=torch.from_numpy(np.stack([sample.image for sample in samples])),
        gt_label=torch.tensor([sample.item.is_defective for sample in samples]) if labelled else None,
        gt_mask=torch.from_numpy(np.stack([unknown if mask is None else mask for mask in masks]))
        if any(mask is not None for mask in masks)
        else None,
        has_mask=torch.tensor([mask is not None for mask in masks]),
        image_path=tuple(sample.item.path for sample in samples),
    )
