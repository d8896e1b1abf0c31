"""Plain folders of images, and the choice between the layouts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.images.listing import LeftOut, Listing, Why, list_images

from .datamodule import DataModule, good_folder, good_images, require_images
from .dataset import ImageItem
from .file_names import some_names
from .good_names import is_chosen
from .lists import ImageList, Shards, data_path, is_list, is_shards
from .masks import Matches, with_masks
from .mvtec import MVTec, MVTecTest
from .split import hold_out
from .splits import FolderRules, split_folder
from .visa import VisA, is_visa

__all__ = ["Folder", "open_data", "open_tests", "open_whole"]

_log = logging.getLogger(__name__)


class Folder(DataModule):
    """Good images in one folder: enough to fit on, or to calibrate with. Test images are optional.

    Args:
        root: the folder of good images, or what the other folders are relative to.
        normal_dir: good images to fit on, relative to ``root``; ``root`` itself when absent.
        abnormal_dir: defective test images, directly or in one folder per kind of defect.
        normal_test_dir: good test images.
        mask_dir: defect masks, in the same folders as the defective images; how they are called, see ``masks``.
        val_split_ratio: share of the good images that is held out for validation, in [0, 1).
        seed: decides which.
        group_by: pattern that finds an image's batch in its path below its folder; subfolders are batches when None.
        recursive: look into subfolders too.

    Raises:
        DataError: a folder is missing, holds no image, or a subfolder that is not of good parts.
        ConfigError: the share is not in [0, 1), or the pattern does not fit.
    """

    def __init__(
        self,
        root: str | Path,
        normal_dir: str | Path | None = None,
        abnormal_dir: str | Path | None = None,
        normal_test_dir: str | Path | None = None,
        mask_dir: str | Path | None = None,
        *,
        val_split_ratio: float = 0.0,
        seed: int = 0,
        group_by: str | None = None,
        recursive: bool = True,
    ) -> None:
        root = Path(root)
        found = [good_folder(root / (normal_dir or ""), recursive=recursive)]
        train, validation = hold_out(good_images(found[0], group_by), val_split_ratio, seed)
        masks = _mask_folder(root, mask_dir, abnormal_dir)
        test: list[ImageItem] = []
        matches = Matches()
        if normal_test_dir is not None:
            found.append(good_folder(root / normal_test_dir, recursive=recursive))
            test += good_images(found[-1], group_by)
        if abnormal_dir is not None:
            found.append(_defective_folder(root / abnormal_dir, recursive))
            defective = [ImageItem(path, "defective") for path in found[-1].files]
            defective, matches = with_masks(defective, found[-1].folder, masks)
            test += defective
        left_out = [one for each in found for one in each.left_out]
        super().__init__(root, train, validation, test, left_out=left_out, matches=matches)
        if mask_dir is not None:
            self._log_masks()

    def _log_masks(self) -> None:
        """For programs: the commands' report says it to people."""
        defective = [item for item in self.test if item.is_defective]
        missing = [item for item in defective if item.mask is None]
        if missing:
            _log.warning(
                "%d of %d defective images have no mask: %s.", len(missing), len(defective), some_names(missing)
            )
        if self.matches.left_over:
            lost = [ImageItem(path) for path in self.matches.left_over]
            _log.warning("%d masks are called like no image: %s.", len(lost), some_names(lost))


def open_data(
    path: str | Path | DataModule,
    val_split_ratio: float = 0.0,
    seed: int = 0,
    group_by: str | None = None,
    *,
    good: Sequence[str] = (),
    recursive: bool = True,
) -> DataModule:
    """The data under ``path``: the MVTec AD layout where it has a ``train`` folder, VisA's where it has
    ``Data/Images``, a list or shards where it is such, else a folder of good images.

    Args:
        path: a folder, a list of files (see ``ImageList``), or tar shards (see ``Shards``), also by their URL; a
            datamodule is taken as it is.
        val_split_ratio: share of the good images that is held out where there is no ``validation/good``, in [0, 1).
        seed: decides which.
        group_by: pattern that finds an image's batch in its path below the folder of good images.
        good: names of the folders, or labels, of good parts; the usual ones are known.
        recursive: look into subfolders of the folders by label, or of the folder of good images.

    Raises:
        DataError: there is no such folder, no image in it, no telling which folder is of good parts, or a subfolder
            that is not of good parts.
        ConfigError: the share is not in [0, 1), or the pattern does not fit.
    """
    if isinstance(path, DataModule):
        return path
    path, rules = data_path(path), FolderRules(group_by, tuple(good), recursive)
    if is_list(path):
        if group_by is not None:
            raise ConfigError("A list names the batches in a column; leave --group-by out.")
        return ImageList(path, val_split_ratio=val_split_ratio, seed=seed, good=good)
    if is_shards(path):
        return Shards(path, val_split_ratio=val_split_ratio, seed=seed, rules=rules)
    if not path.is_dir():
        raise DataError(f"There is no folder {path}; give a folder of images of good parts.")
    if is_visa(path):
        return VisA(path, rules, val_split_ratio, seed)
    if split_folder(path, "train") is not None:
        return MVTec(
            path, "", val_split_ratio=val_split_ratio, seed=seed, group_by=group_by, good=good, recursive=recursive
        )
    return _GoodBelow(path, val_split_ratio, seed, rules)


def open_tests(path: str | Path, rules: FolderRules) -> DataModule:
    """The data under ``path`` for its test images, which is all that has to be there; others may be missing.

    Raises:
        DataError, ConfigError: as ``open_data``; of a folder without test images there are none.
    """
    path = data_path(path)
    if is_list(path) or is_shards(path) or is_visa(path):
        found = open_data(path, group_by=None if is_list(path) else rules.group_by, good=rules.good)
        same = found.with_train([])
        same.validation = []
        return same
    return MVTecTest(path, rules)


def open_whole(path: str | Path, rules: FolderRules) -> DataModule:
    """Whatever is under ``path``, to be looked at: as ``open_data``, or test images alone.

    Raises:
        DataError, ConfigError: as ``open_data``.
    """
    path = data_path(path)
    if split_folder(path, "test") is not None and split_folder(path, "train") is None:
        return open_tests(path, rules)
    return open_data(path, group_by=rules.group_by, good=rules.good, recursive=rules.recursive)


class _GoodBelow(Folder):
    """A folder of good images, or the one among its subfolders that ``--good`` says."""

    def __init__(self, root: Path, val_split_ratio: float, seed: int, rules: FolderRules) -> None:
        below = [one.path for one in list_images(root, recursive=False).left_out if one.why is Why.SUBFOLDER]
        named = [folder for folder in below if is_chosen(folder.name, rules.good)]
        if rules.good and len(named) != 1:
            raise DataError(
                f"{root} has {len(named) or 'no'} folders called {' or '.join(rules.good)}; --good takes one of those "
                "that lie in a folder without train/."
            )
        normal = named[0].name if named else None
        super().__init__(
            root,
            normal,
            val_split_ratio=val_split_ratio,
            seed=seed,
            group_by=rules.group_by,
            recursive=rules.recursive,
        )
        others = [folder for folder in below if named and folder not in named]
        self.left_out += tuple(LeftOut(one, Why.NOT_GOOD, len(list_images(one).files)) for one in others)


def _defective_folder(folder: Path, recursive: bool) -> Listing:
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; give the folder of the defective parts.")
    listing = list_images(folder, recursive=recursive)
    require_images(listing)
    return listing


def _mask_folder(root: Path, mask_dir: str | Path | None, abnormal_dir: str | Path | None) -> list[Path]:
    if mask_dir is None:
        return []
    masks = root / mask_dir
    if not masks.is_dir():
        raise DataError(f"There is no folder {masks}; give the folder of the defect masks.")
    below = masks / Path(abnormal_dir or "").name
    return [below if below.is_dir() else masks]
