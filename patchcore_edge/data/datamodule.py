"""What all data has in common: items to train on, to calibrate with and to test on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.listing import LeftOut, Listing, describe_left_out, list_images
from patchcore_edge_runtime.images.preprocess import PreprocessSpec
from patchcore_edge_runtime.path_text import path_text

from .batches import require_good_parts, with_batches
from .dataset import ImageDataset, ImageItem
from .masks import Matches

__all__ = ["DataModule", "good_folder", "good_images", "require_images"]


class DataModule:
    """Labelled image files in three splits, any of which may be empty.

    Args:
        root: where the data lies; named in errors.
        train: good images to fit on.
        validation: good images held out from the fit, for thresholds.
        test: good and defective images, for reporting only.
        left_out: files and folders under the root that are in no split, and why.
        notes: sentences on what was taken as what.
        matches: which masks were found, and how.
    """

    def __init__(
        self,
        root: Path,
        train: Sequence[ImageItem],
        validation: Sequence[ImageItem] = (),
        test: Sequence[ImageItem] = (),
        *,
        left_out: Sequence[LeftOut] = (),
        notes: Sequence[str] = (),
        matches: Matches | None = None,
    ) -> None:
        self.root = root
        self.train = list(train)
        self.validation = list(validation)
        self.test = list(test)
        self.left_out = tuple(left_out)
        self.notes = tuple(notes)
        self.matches = matches or Matches()

    def __str__(self) -> str:
        return path_text(self.root)

    def describe_folders(self) -> list[str]:
        """What a person has to know of how the folders were read, a sentence each; none where there is nothing."""
        left_out = describe_left_out(self.left_out, self.root)
        return [*self.notes, *([left_out] if left_out else [])]

    def with_train(self, train: Sequence[ImageItem]) -> DataModule:
        """The same data with other training images."""
        return DataModule(
            self.root,
            train,
            self.validation,
            self.test,
            left_out=self.left_out,
            notes=self.notes,
            matches=self.matches,
        )

    @staticmethod
    def dataset(items: Sequence[ImageItem], spec: PreprocessSpec) -> ImageDataset:
        """The pixels of a split at a model's size."""
        return ImageDataset(items, spec)


def good_folder(folder: Path, *, recursive: bool = True) -> Listing:
    """A folder of good parts, with its subfolders.

    Raises:
        DataError: there is no such folder, no image in it that can be used, or a subfolder that is not of good parts.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; give a folder of images of good parts.")
    listing = list_images(folder, recursive=recursive)
    require_images(listing)
    return listing


def require_images(listing: Listing) -> None:
    """See that there are any.

    Raises:
        DataError: there are none; what is there instead is said.
    """
    if not listing.files:
        instead = describe_left_out(listing.left_out, listing.folder)
        endings = "it needs files ending in .png, .jpg, .bmp, .tif, .webp or another format that OpenCV reads."
        raise DataError(
            f"{listing.folder} holds no images{' that can be used' if instead else ''}; {endings} {instead}".strip()
        )


def good_images(listing: Listing, group_by: str | None = None) -> list[ImageItem]:
    """The images of a folder and its subfolders as good parts, with their batches.

    Args:
        listing: of the folder; its subfolders, if any, are batches.
        group_by: pattern that finds the batch in a path instead; see ``with_batches``.

    Raises:
        DataError: a subfolder is not of good parts.
        ConfigError: the pattern is none, or is not found in a path.
    """
    require_good_parts(listing)
    return with_batches([ImageItem(path) for path in listing.files], listing.folder, group_by)
