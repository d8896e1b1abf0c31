"""What all data has in common: items to train on, to calibrate with and to test on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.files import IMAGE_SUFFIXES
from patchcore_edge_runtime.images.preprocess import PreprocessSpec

from .batches import part_files, with_batches
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

    def with_train(self, train: Sequence[ImageItem]) -> DataModule:
        """The same data with other training images."""
        return DataModule(self.root, train, self.validation, self.test)

    @staticmethod
    def dataset(items: Sequence[ImageItem], spec: PreprocessSpec) -> ImageDataset:
        """The pixels of a split at a model's size."""
        return ImageDataset(items, spec)


def good_images(folder: Path, group_by: str | None = None) -> list[ImageItem]:
    """The images of a folder and its subfolders as good parts, with their batches.

    Args:
        folder: its subfolders, if any, are batches.
        group_by: pattern that finds the batch in a path instead; see ``with_batches``.

    Raises:
        DataError: there is no such folder, no image in it, or a subfolder that is not of good parts.
        ConfigError: the pattern is none, or is not found in a path.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; give a folder of images of good parts.")
    items = with_batches([ImageItem(path) for path in part_files(folder)], folder, group_by)
    if not items:
        raise DataError(f"{folder} holds no images; it needs files ending in {', '.join(sorted(IMAGE_SUFFIXES))}.")
    return items
