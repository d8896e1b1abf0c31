"""The folders of a data set: ``train``, ``validation`` and ``test``, and in each the folders by label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.listing import LeftOut, Listing, Why, describe_left_out, list_images
from patchcore_edge_runtime.path_text import path_text

from .good_names import GOOD, good_among, is_chosen, sounds_good

__all__ = [
    "FolderRules",
    "Labelled",
    "is_mask_folder",
    "is_split",
    "labelled_folders",
    "mask_folders",
    "split_folder",
    "split_name",
    "subfolders",
]

_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "tests", "testing", "test_public"),
}
_MASK_FOLDERS = frozenset({"ground_truth", "groundtruth", "ground-truth", "ground truth", "gt", "mask", "masks"})


@dataclass(frozen=True)
class FolderRules:
    """How folders are read.

    Attributes:
        group_by: pattern that finds an image's batch in its path below its folder; subfolders are batches when None.
        good: names of the folders of good parts; known by their usual names when empty.
        recursive: look into subfolders too.
    """

    group_by: str | None = None
    good: tuple[str, ...] = ()
    recursive: bool = True


@dataclass
class Labelled:
    """The folders by label in a split.

    Attributes:
        folder: of the split.
        good: listings of the folders of good parts; the split's own where images lie in it and nowhere else.
        others: listings of the other folders.
        left_out: what is in neither.
        notes: sentences on what was taken as what.
    """

    folder: Path
    good: list[Listing] = field(default_factory=list)
    others: list[Listing] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def split_name(name: str) -> str:
    """``train``, ``validation`` or ``test`` for what people call them (``Val``, ``training``); else the name."""
    plain = name.strip().lower()
    return next((split for split, names in _SPLITS.items() if plain in names), name)


def is_split(folder: str) -> bool:
    """Whether a folder of that name is one of a split."""
    return split_name(folder) in _SPLITS


def split_folder(root: Path, split: str) -> Path | None:
    """The folder of a split, in small or capital letters, by its usual names; None where there is none.

    Args:
        root: of the data.
        split: ``train``, ``validation`` or ``test``.

    Raises:
        DataError: there are two.
    """
    if not root.is_dir():
        return None
    named = [path for path in subfolders(root) if split_name(path.name) == split]
    if len(named) > 1:
        names = " and ".join(path_text(path.name) for path in named)
        raise DataError(f"{root} has {names}; put the images of both into {root / split}.")
    return named[0] if named else None


def labelled_folders(split: Path, rules: FolderRules, *, only_good: bool = False) -> Labelled:
    """What is in the folders by label of a split.

    Args:
        split: such as ``test``.
        rules: how folders are read.
        only_good: the split is for good parts, so that images that lie in it directly are such, and other folders are
            not used.

    Raises:
        DataError: none of the folders is known to be that of the good parts, or more than one is.
    """
    found = Labelled(split)
    top = list_images(split, recursive=False)
    folders = [one.path for one in top.left_out if one.why is Why.SUBFOLDER]
    found.left_out += [one for one in top.left_out if one.why is not Why.SUBFOLDER]
    listings = [list_images(folder, recursive=rules.recursive) for folder in folders if not is_mask_folder(folder)]
    found.left_out += [one for listing in listings for one in listing.left_out]
    filled = [listing for listing in listings if listing.files]
    if not filled:
        _take_top(found, top, only_good)
        return found
    found.left_out += [LeftOut(path, Why.UNUSED) for path in top.files]
    _part(found, filled, _good_names(found.folder, filled, listings, rules.good, only_good=only_good))
    if only_good:
        found.left_out += [LeftOut(one.folder, Why.NOT_GOOD, len(one.files)) for one in found.others]
        found.others = []
    return found


def _good_names(
    split: Path, filled: Sequence[Listing], listings: Sequence[Listing], chosen: tuple[str, ...], *, only_good: bool
) -> list[str]:
    names = [listing.folder.name for listing in filled]
    empty = [listing for listing in listings if not listing.files and sounds_good(listing.folder.name)]
    named = any(sounds_good(name) or is_chosen(name, chosen) for name in names)
    if empty and not only_good and not named:
        lost = describe_left_out([one for one in empty[0].left_out if one.matters], empty[0].folder)
        if lost:
            raise DataError(f"{empty[0].folder} holds no images that can be used. {lost}")
        return []  # an empty folder says that there are no good parts
    good = path_text(split / GOOD)
    remedy = f"put their images into {good}" if only_good else f"make an empty folder {good} if there are none"
    return good_among(names, chosen, str(split), remedy)


def _part(found: Labelled, filled: Sequence[Listing], good: Sequence[str]) -> None:
    """Tell good parts from others by their folders' names."""
    for listing in filled:
        if listing.folder.name in good:
            found.good.append(listing)
        elif sounds_good(listing.folder.name):
            found.left_out.append(LeftOut(listing.folder, Why.UNCLEAR, len(listing.files)))
        else:
            found.others.append(listing)
    if found.good and list(good) != [GOOD]:
        taken = " and ".join(path_text(listing.folder) for listing in found.good)
        found.notes.append(f"{taken} {'is' if len(good) == 1 else 'are'} taken as the good parts.")


def _take_top(found: Labelled, top: Listing, only_good: bool) -> None:
    if only_good and top.files:
        found.good = [top]
        found.notes.append(
            f"{path_text(found.folder)} has no folders by label: all its images are taken as good parts."
        )
    else:
        found.left_out += [LeftOut(path, Why.UNUSED) for path in top.files]


def mask_folders(root: Path, folder: Path, split: str) -> list[Path]:
    """The folders of a split's masks: in its own folder, and beside it, where those of the test images usually are.

    Args:
        root: of the data.
        folder: of the split.
        split: ``validation`` or ``test``.
    """
    found = [path for path in subfolders(folder) if is_mask_folder(path)]
    for path in subfolders(root):
        own = split_folder(path, split) if is_mask_folder(path) else None
        if own is not None:
            found.append(own)
        elif is_mask_folder(path) and split == "test":
            found.append(path)
    return found


def subfolder(root: Path, name: str) -> Path | None:
    """The folder of a name directly in another, in small or capital letters; None unless there is exactly one."""
    named = [path for path in subfolders(root) if path.name.lower() == name] if root.is_dir() else []
    return named[0] if len(named) == 1 else None


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in another that are not left behind by tools."""
    below = list_images(folder, recursive=False, count=False).left_out
    return [one.path for one in below if one.why is Why.SUBFOLDER]


def is_mask_folder(folder: PurePath | str) -> bool:
    """Whether a folder, or its name, is called as folders of masks are."""
    return (folder if isinstance(folder, str) else folder.name).lower().strip() in _MASK_FOLDERS
