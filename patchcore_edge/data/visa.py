"""The layout of VisA (Zou et al. 2022, "SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection").

<object>/Data/Images/Normal/*.JPG, <object>/Data/Images/Anomaly/*.JPG
<object>/Data/Masks/Anomaly/<name>.png          optional
<object>/image_anno.csv                         optional: each image's kinds of defects
split_csv/1cls.csv                              optional, beside the objects: which normal images are for training
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.path_text import path_text

from .datamodule import DataModule, good_images
from .dataset import ImageItem
from .masks import with_masks
from .split import hold_out
from .splits import FolderRules, is_mask_folder, labelled_folders, subfolder, subfolders

__all__ = ["VisA", "is_visa"]

_TESTED = 5
"""Without a list, every fifth normal image is for testing."""


def is_visa(root: Path) -> bool:
    """Whether a folder is an object of VisA."""
    return _images(root) is not None


class VisA(DataModule):
    """One object in VisA's layout.

    Args:
        root: folder of the object, with ``Data`` in it.
        rules: how folders are read.
        val_split_ratio: share of the training images that is held out, in [0, 1).
        seed: decides which.

    Raises:
        DataError: it has no such layout, or no folder is known to be that of the good parts.
        ConfigError: the share is not in [0, 1), or the pattern of the batches does not fit.
    """

    def __init__(
        self, root: str | Path, rules: FolderRules | None = None, val_split_ratio: float = 0.0, seed: int = 0
    ) -> None:
        root, rules = Path(root), rules or FolderRules()
        images = _images(root)
        if images is None:
            raise DataError(f"{root} has no Data/Images with folders in it; give a folder of one of VisA's objects.")
        found = labelled_folders(images, rules)
        good = [item for listing in found.good for item in good_images(listing, rules.group_by)]
        train, tested, note = _split(root, good)
        kinds = _kinds(root)
        others = [
            ImageItem(path, kinds.get(_key(path), path_text(listing.folder.name)))
            for listing in found.others
            for path in listing.files
        ]
        masks = [folder for folder in subfolders(images.parent) if is_mask_folder(folder)]
        test, matches = with_masks([*tested, *others], images, masks)
        train, validation = hold_out(train, val_split_ratio, seed)
        notes = [*found.notes, *([note] if note else [])]
        super().__init__(root, train, validation, test, left_out=found.left_out, notes=notes, matches=matches)


def _images(root: Path) -> Path | None:
    data = subfolder(root, "data")
    images = None if data is None else subfolder(data, "images")
    return images if images is not None and subfolders(images) else None


def _split(root: Path, good: Sequence[ImageItem]) -> tuple[list[ImageItem], list[ImageItem], str]:
    """Normal images to train on and to test with, and what to say of how they were parted."""
    file = root.parent / "split_csv" / "1cls.csv"
    rows = [row for row in _rows(file) if row.get("object") == root.name]
    split = {_key(PurePosixPath(row["image"])): row.get("split") for row in rows if row.get("image")}
    train = [item for item in good if split.get(_key(item.path)) == "train"]
    if train:
        test = [item for item in good if split.get(_key(item.path)) == "test"]
        rest = len(good) - len(train) - len(test)
        return train, test, f"{rest} normal images that {path_text(file)} does not name are not used." if rest else ""
    train = [item for place, item in enumerate(good) if place % _TESTED != _TESTED - 1]
    test = list(good[_TESTED - 1 :: _TESTED])
    note = (
        f"No {path_text(file)} says which images are for training, so every fifth normal image is for testing: "
        f"{len(test)} of {len(good)}."
    )
    return train, test, note


def _kinds(root: Path) -> dict[tuple[str, ...], str]:
    """The kinds of defects of each image, as its label."""
    return {
        _key(PurePosixPath(row["image"])): row["label"]
        for row in _rows(root / "image_anno.csv")
        if row.get("image") and row.get("label")
    }


def _rows(file: Path) -> list[dict[str, str]]:
    """Of a list that may be missing; it adds to what the folders say."""
    if not file.is_file():
        return []
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as CSV ({error}); repair it, or take it away.") from None


def _key(path: Path | PurePosixPath) -> tuple[str, ...]:
    """What tells an image in a list of paths from another root: its folder and its name."""
    return path.parent.name, path.name
