"""The MVTec AD layout.

<category>/train/good/*.png
<category>/validation/good/*.png                        optional; as in MVTec LOCO and AD 2
<category>/validation/<defect>/*.png                    optional; labelled defects set the thresholds of the highest F1
<category>/validation/ground_truth/<defect>/<name>_mask.png   optional; as in AD 2's public test set
<category>/test/good/*.png, test/<defect>/*.png
<category>/ground_truth/<defect>/<name>_mask.png        optional

Folders are found in small and capital letters and by their usual names (``val``, ``OK``, ``normal`` …, see ``splits``),
masks by theirs (see ``masks``): so MVTec LOCO, MVTec AD 2 and BTech are read as they come.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.listing import LeftOut, Why, describe_left_out, list_images
from patchcore_edge_runtime.path_text import path_text

from .batches import with_batches
from .datamodule import DataModule, good_images
from .dataset import ImageItem
from .good_names import is_chosen
from .masks import Matches, with_masks
from .spellings import OF_DATA, refuse_or_say
from .split import hold_out
from .splits import (
    FolderRules,
    Labelled,
    is_mask_folder,
    is_split,
    labelled_folders,
    mask_folders,
    split_folder,
    subfolders,
)

__all__ = ["CATEGORIES", "MVTec", "MVTecAD", "MVTecTest", "test_items"]

CATEGORIES = (
    "bottle",
    "cable",
    "capsule",
    "carpet",
    "grid",
    "hazelnut",
    "leather",
    "metal_nut",
    "pill",
    "screw",
    "tile",
    "toothbrush",
    "transistor",
    "wood",
    "zipper",
)
"""The fifteen categories of MVTec AD."""

_SOURCE = "https://www.mvtec.com/company/research/datasets/mvtec-ad"


class MVTec(DataModule):
    """One category in the MVTec AD layout, of MVTec AD itself or of anyone's own parts.

    Args:
        root: folder that holds the categories.
        category: name of the folder inside ``root``; "" when ``root`` is the category itself.
        val_split_ratio: share of ``train/good`` that is held out for validation where there is no
            ``validation/good``, in [0, 1).
        seed: decides which.
        group_by: pattern that finds a good image's batch in its path below its folder; subfolders of ``good`` are
            batches when None.
        good: names of the folders of good parts, where the usual ones do not say which.
        recursive: look into subfolders of the folders by label.

    Raises:
        DataError: the layout is not there, no folder is known to be that of the good parts or several are, or a folder
            of good parts has one that is not.
        ConfigError: the share is not in [0, 1), or the pattern does not fit.
    """

    def __init__(
        self,
        root: str | Path = "./datasets/MVTecAD",
        category: str = "bottle",
        *,
        val_split_ratio: float = 0.0,
        seed: int = 0,
        group_by: str | None = None,
        good: Sequence[str] = (),
        recursive: bool = True,
    ) -> None:
        folder, rules = Path(root) / category, FolderRules(group_by, tuple(good), recursive)
        where = {name: split_folder(folder, name) for name in ("train", "validation", "test")}
        if where["train"] is None:
            raise DataError(_missing(Path(root), category))
        learned = labelled_folders(where["train"], rules, only_good=True)
        if not learned.good:
            raise DataError(_no_good_images(Path(root), category, learned))
        (train, matches), found = _items(learned, [], group_by), [learned]
        if where["validation"] is not None:
            found.append(labelled_folders(where["validation"], rules))
            validation, more = _items(found[-1], mask_folders(folder, where["validation"], "validation"), group_by)
            matches = matches.joined(more)
            _require_labels(found[-1])
        else:
            train, validation = hold_out(train, val_split_ratio, seed)
        test: list[ImageItem] = []
        if where["test"] is not None:
            found.append(labelled_folders(where["test"], rules))
            test, more = _items(found[-1], mask_folders(folder, where["test"], "test"), group_by)
            matches = matches.joined(more)
        _require_chosen(folder, rules, found)
        left_out = [*_unused(folder, where.values()), *(one for labelled in found for one in labelled.left_out)]
        notes = [note for labelled in found for note in labelled.notes]
        super().__init__(folder, train, validation, test, left_out=left_out, notes=notes, matches=matches)


class MVTecAD(MVTec):
    """The same by anomalib's name, with the words that its datamodule takes besides; see ``refuse_or_say``.

    Its default ``val_split_mode`` has the test images set the thresholds; here without validation images none are set.

    Raises:
        ConfigError, DataError: as ``MVTec``; or one of the words would change what comes out.
        TypeError: a word that neither takes.
    """

    def __init__(
        self,
        root: str | Path = "./datasets/MVTecAD",
        category: str = "bottle",
        *,
        val_split_ratio: float = 0.0,
        seed: int | None = 0,
        group_by: str | None = None,
        good: Sequence[str] = (),
        recursive: bool = True,
        **others: Any,
    ) -> None:
        refuse_or_say("MVTecAD", others, OF_DATA)
        super().__init__(
            root,
            category,
            val_split_ratio=val_split_ratio,
            seed=seed or 0,
            group_by=group_by,
            good=good,
            recursive=recursive,
        )


class MVTecTest(DataModule):
    """The test images of a folder in that layout, which needs no more than ``test``.

    Args:
        root: of the data.
        rules: how folders are read.

    Raises:
        DataError: as ``MVTec``; of a folder without ``test`` there are no images.
    """

    def __init__(self, root: Path, rules: FolderRules) -> None:
        test = split_folder(root, "test")
        if test is None:
            super().__init__(root, [])
            return
        found = labelled_folders(test, rules)
        _require_chosen(root, rules, [found])
        items, matches = _items(found, mask_folders(root, test, "test"), rules.group_by)
        splits = [folder for folder in subfolders(root) if is_split(folder.name)]
        left_out = [*_unused(root, splits), *found.left_out]
        super().__init__(root, [], test=items, left_out=left_out, notes=found.notes, matches=matches)


def test_items(folder: Path, group_by: str | None = None) -> list[ImageItem]:  # noqa: PT028 - it is no test
    """The images of ``test/good`` and ``test/<defect>`` with masks and batches; none where there is no such folder."""
    return MVTecTest(folder, FolderRules(group_by)).test


def _require_labels(found: Labelled) -> None:
    lying = [one for one in found.left_out if one.why is Why.UNUSED and one.path.parent == found.folder]
    if lying and not found.good and not found.others:
        good = path_text(found.folder / "good")
        raise DataError(f"{found.folder} holds images that no folder says the label of; put good parts into {good}.")


def _require_chosen(root: Path, rules: FolderRules, found: Sequence[Labelled]) -> None:
    names = [listing.folder.name for labelled in found for listing in labelled.good]
    if rules.good and not any(is_chosen(name, rules.good) for name in names):
        raise DataError(
            f"{root} has no folder called {' or '.join(rules.good)} with images in it; give --good a name that is "
            f"there, or leave it out for {', '.join(sorted(set(map(path_text, names)))) or 'the usual names'}."
        )


def _unused(root: Path, used: Iterable[Path | None]) -> list[LeftOut]:
    """What lies beside the splits and is not of them."""
    top, taken = list_images(root, recursive=False), set(used)
    beside = [one for one in top.left_out if one.path not in taken and not is_mask_folder(one.path)]
    loose = [LeftOut(path, Why.UNUSED) for path in top.files]
    return loose + [replace(one, why=Why.UNUSED) if one.why is Why.SUBFOLDER else one for one in beside]


def _missing(root: Path, category: str) -> str:
    layout = "train/good, test/good, test/<defect> and ground_truth/<defect>/<name>_mask.png"
    if category in CATEGORIES:
        return (
            f"MVTec AD's {category} is not in {root}; download MVTec AD from {_SOURCE} "
            f"and unpack it so that {root / category} holds {layout}."
        )
    if category and not (root / category).is_dir():
        there = sorted(path.parent.parent.name for path in root.glob("*/train/good"))
        return (
            f"{root} has no category {category!r}; it has {', '.join(there) or 'none'}, "
            f"and MVTec AD ({_SOURCE}) has {', '.join(CATEGORIES)}."
        )
    return (
        f"{root / category} has no train/good; lay the data out as MVTec AD does ({_SOURCE}), with {layout}, "
        "or give a folder of good images."
    )


def _no_good_images(root: Path, category: str, train: Labelled) -> str:
    lost = describe_left_out(train.left_out, train.folder)
    return f"{train.folder} holds no images of good parts. {lost}" if lost else _missing(root, category)


def _items(found: Labelled, masks: Iterable[Path], group_by: str | None) -> tuple[list[ImageItem], Matches]:
    """The images of a split, good ones first, with their masks."""
    good = [item for listing in found.good for item in good_images(listing, group_by)]
    if len(found.good) > 1:
        good = with_batches(good, found.folder, group_by)
    others = [ImageItem(path, path_text(listing.folder.name)) for listing in found.others for path in listing.files]
    roots = list(masks)
    found.left_out += [one for root in roots for one in list_images(root).left_out]
    return with_masks([*good, *others], found.folder, roots)
