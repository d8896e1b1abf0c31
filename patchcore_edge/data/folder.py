"""Plain folders of images, and the choice between the layouts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.images.listing import LeftOut, Listing, Why, list_images

from .datamodule import DataModule, good_folder, good_images, require_images
from .dataset import ImageItem
from .file_names import some_names
from .good_names import is_chosen
from .lists import ImageList, Shards, data_path, is_list, is_shards
from .masks import Matches, with_masks
from .mvtec import MVTec, MVTecTest
from .spellings import OF_DATA, refuse_or_say
from .split import hold_out
from .splits import FolderRules, split_folder
from .visa import VisA, is_visa

__all__ = ["Folder", "open_data", "open_tests", "open_whole"]

_log = logging.getLogger(__name__)

Folders = str | Path | Sequence[str | Path] | None
"""One folder, several, or none."""


class Folder(DataModule):
    """Good images in one folder: enough to fit on, or to calibrate with. Test images are optional.

    Where anomalib has further words, they are taken too; see ``refuse_or_say``.

    Args:
        root: the folder of good images, or what the other folders are relative to; may be left out where those say all.
        normal_dir: good images to fit on, relative to ``root``; ``root`` itself when absent. A folder or several.
        abnormal_dir: defective test images, directly or in one folder per kind of defect. A folder or several.
        normal_test_dir: good test images. A folder or several.
        mask_dir: defect masks, in the same folders as the defective images; how they are called, see ``masks``. A
            folder, or one for each of ``abnormal_dir``.
        name: what the data are called in what is said of them; the root when absent.
        normal_split_ratio: share of the good images that is held out for the test, in [0, 1); not with
            ``normal_test_dir``.
        val_split_ratio: share of the remaining good images that is held out for validation, in [0, 1).
        seed: decides which.
        group_by: pattern that finds an image's batch in its path below its folder; subfolders are batches when None.
        recursive: look into subfolders too.

    Raises:
        DataError: a folder is missing, holds no image, or a subfolder that is not of good parts.
        ConfigError: a share is not in [0, 1), the pattern does not fit, or one of the words would change what comes
            out.
        TypeError: a word that neither takes.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        normal_dir: Folders = None,
        abnormal_dir: Folders = None,
        normal_test_dir: Folders = None,
        mask_dir: Folders = None,
        *,
        name: str | None = None,
        normal_split_ratio: float = 0.0,
        val_split_ratio: float = 0.0,
        seed: int | None = 0,
        group_by: str | None = None,
        recursive: bool = True,
        **others: Any,
    ) -> None:
        refuse_or_say("Folder", others, OF_DATA)
        if root is None and not _each(normal_dir):
            raise ConfigError("Folder has neither root nor normal_dir; give the folder of the good images.")
        root, seed = _root(root, normal_dir), seed or 0
        found = [good_folder(root / one, recursive=recursive) for one in _each(normal_dir) or [Path()]]
        train = [item for listing in found for item in good_images(listing, group_by)]
        tests = [good_folder(root / one, recursive=recursive) for one in _each(normal_test_dir)]
        test = [item for listing in tests for item in good_images(listing, group_by)]
        if tests and normal_split_ratio:
            raise ConfigError("normal_test_dir has the good test images; leave normal_split_ratio out.")
        train, held = hold_out(train, normal_split_ratio, seed)
        train, validation = hold_out(train, val_split_ratio, seed)
        test += held
        pairs = list(_with_mask_folders(_each(abnormal_dir), _each(mask_dir)))
        _require_mask_folders(root, _each(mask_dir))
        matches = Matches()
        for defects, masks in pairs:
            found.append(_defective_folder(root / defects, recursive))
            defective = [ImageItem(path, "defective") for path in found[-1].files]
            own = _mask_folder(root, masks, defects)
            defective, more = with_masks(defective, found[-1].folder, own)
            matches = matches.joined(more)
            test += defective
        left_out = [one for each in (*found, *tests) for one in each.left_out]
        super().__init__(root, train, validation, test, left_out=left_out, matches=matches)
        self.name = name
        if mask_dir is not None:
            self._log_masks()

    def __str__(self) -> str:
        return self.name or super().__str__()

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
    _require_folder(path)
    if is_visa(path):
        return VisA(path, rules, val_split_ratio, seed)
    if split_folder(path, "train") is not None:
        return MVTec(
            path, "", val_split_ratio=val_split_ratio, seed=seed, group_by=group_by, good=good, recursive=recursive
        )
    return _GoodBelow(path, val_split_ratio, seed, rules)


def _require_folder(path: Path) -> None:
    if path.is_file():
        raise DataError(
            f"{path} is a file; data are a folder of images, a list of them (.csv, .parquet), or tar shards (.tar)."
        )
    if not path.is_dir():
        raise DataError(f"There is no folder {path}; give a folder of images of good parts.")


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


def _each(folders: Folders) -> list[Path]:
    if folders is None:
        return []
    return [Path(folders)] if isinstance(folders, str | Path) else [Path(one) for one in folders]


def _root(root: str | Path | None, normal_dir: Folders) -> Path:
    """What folders are relative to: without a root where one stands, unless there is one folder and nothing else."""
    if root is not None:
        return Path(root)
    named = _each(normal_dir)
    return named[0].absolute().parent if named[0].is_absolute() else Path()


def _with_mask_folders(defects: Sequence[Path], masks: Sequence[Path]) -> Iterator[tuple[Path, Path | None]]:
    """Each folder of defective parts with that of its masks."""
    if len(masks) not in (0, 1, len(defects)):
        raise ConfigError(
            f"There are {len(masks)} folders of masks for {len(defects)} of defective parts; give one, or one for each."
        )
    return zip(defects, masks if len(masks) == len(defects) else [*masks, *[None]][:1] * len(defects), strict=True)


def _require_mask_folders(root: Path, folders: Sequence[Path]) -> None:
    """Also where no folder of defective parts is given: a wrong name is one all the same."""
    for folder in folders:
        if not (root / folder).is_dir():
            raise DataError(f"There is no folder {root / folder}; give the folder of the defect masks.")


def _mask_folder(root: Path, mask_dir: Path | None, abnormal_dir: Path) -> list[Path]:
    if mask_dir is None:
        return []
    masks = root / mask_dir
    below = masks / abnormal_dir.name
    return [below if below.is_dir() else masks]
