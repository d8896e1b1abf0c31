"""What all data has in common: items to train on, to calibrate with and to test on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.preprocess import PreprocessSpec
from patchcore_edge_runtime.sources import IMAGE_SUFFIXES, image_files

from .dataset import ImageDataset, ImageItem

__all__ = ["DataModule", "good_images"]


class DataModule:
    """Labelled image files in three splits, any of which may be empty.

    Args:
        root: where the data lies; named in errors.
        train: good images to fit on.
        validation: good images held out from the fit, for thresholds.
        test: good and defective images, for reporting only.
    """

    def __init__(
        self,
        root: Path,
        train: Sequence[ImageItem],
        validation: Sequence[ImageItem] = (),
        test: Sequence[ImageItem] = (),
    ) -> None:
        self.root = root
        self.train = list(train)
        self.validation = list(validation)
        self.test = list(test)

    def __str__(self) -> str:
        return str(self.root)

    @staticmethod
    def dataset(items: Sequence[ImageItem], spec: PreprocessSpec) -> ImageDataset:
        """The pixels of a split at a model's size."""
        return ImageDataset(items, spec)


def good_images(folder: Path) -> list[ImageItem]:
    """The images of a folder as good parts.

    Raises:
        DataError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; give a folder of images of good parts.")
    items = [ImageItem(path) for path in image_files(folder)]
    if not items:
        raise DataError(f"{folder} holds no images; it needs files ending in {', '.join(sorted(IMAGE_SUFFIXES))}.")
    return items
