"""Which defect mask belongs to which image: by name, the surest names first.

Masks lie in folders laid out as the images are, case aside, or in a folder of masks within the images' own
(``crack/masks/003.png``). An image ``crack/003.jpg`` has the mask ``crack/003_mask.png`` or ``crack/003.png``; else one
with another word or ending (``003_gt.bmp``, ``mask_003.tif``, ``003.jpg.png``), or the folder ``crack/003/`` with
several; else, where images or masks are not in folders by kind, one of such a name that no second has; else, where all
names of a folder differ in nothing but numbers, the one of its number (``image3.png`` and ``mask3.png``).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TypeVar

from patchcore_edge_runtime.images.formats import is_picture_name
from patchcore_edge_runtime.images.listing import list_images

from .dataset import ImageItem
from .splits import is_mask_folder

__all__ = ["Matches", "beside_photos", "match_masks", "with_masks"]

_WORDS = r"(?:masks?|msk|gt|labels?|seg|segmentation|annotations?|anno|truth|ground_?truth|target)"
_AFTER = re.compile(rf"(?:[_\-. ]+{_WORDS}|mask)$")
_BEFORE = re.compile(rf"^(?:{_WORDS}[_\-. ]+|mask)")
_WORD = re.compile(rf"(?:^|[^a-z]){_WORDS}(?:$|[^a-z])")
_NUMBER = re.compile(r"(.*?)(\d+)(\D*)")

_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Matches:
    """What was found in folders of masks.

    Attributes:
        masks: of the images that have one: a file, or a folder of files.
        left_over: masks that are no image's, files or folders.
        by_number: images whose mask was found by its number alone.
        beside: masks that lay among the images.
    """

    masks: dict[Path, Path] = field(default_factory=dict)
    left_over: list[Path] = field(default_factory=list)
    by_number: list[Path] = field(default_factory=list)
    beside: list[Path] = field(default_factory=list)

    def joined(self, other: Matches) -> Matches:
        """These and others."""
        return Matches(
            self.masks | other.masks,
            [*self.left_over, *other.left_over],
            [*self.by_number, *other.by_number],
            [*self.beside, *other.beside],
        )


def beside_photos(files: Sequence[Path]) -> list[Path]:
    """Those of some image files that are masks of others in the same folder: ``003_mask.png`` beside ``003.jpg``."""
    photos = {(path.parent, path.stem.lower()) for path in files}
    return [path for path in files if _AFTER.search(path.stem.lower()) and (path.parent, _bare(path)) in photos]


def with_masks(items: Sequence[ImageItem], base: Path, roots: Iterable[Path]) -> tuple[list[ImageItem], Matches]:
    """Items with their masks, less those that are themselves masks of others, and what was matched.

    Args:
        items: of files below ``base``.
        base: folder whose subfolders are called as those of the masks.
        roots: folders of masks; an earlier one goes before a later one.
    """
    beside = set(beside_photos([item.path for item in items]))
    beside |= {item.path for item in items if _in_mask_folder(PurePath(item.path.relative_to(base)))}
    photos = [item for item in items if item.path not in beside]
    found = Matches(beside=sorted(beside))
    for root, masks in [*((root, None) for root in roots), (base, sorted(beside))]:
        rest = [item.path for item in photos if item.path not in found.masks]
        found = found.joined(match_masks(rest, base, root, masks))
    return [replace(item, mask=found.masks.get(item.path, item.mask)) for item in photos], found


def match_masks(images: Iterable[Path], base: Path, root: Path, masks: Iterable[Path] | None = None) -> Matches:
    """The masks of images.

    Args:
        images: files below ``base``.
        base: folder whose subfolders are called as those of the masks.
        root: folder of the masks.
        masks: files below ``root``; all images there when absent.
    """
    search = _Search(images, base, list_images(root).files if masks is None else masks, root)
    search.take(lambda image: (_place(image), _stem(image)), lambda mask: (_place(mask), _plain(mask)))
    search.take(lambda image: (_place(image), _stem(image)), lambda mask: (_place(mask), _bare(mask)))
    search.take_from_anywhere()
    search.take_by_number()
    return search.found()


class _Search:
    """Images and masks by their paths below their roots; those that still have none and are no image's yet."""

    def __init__(self, images: Iterable[Path], base: Path, masks: Iterable[Path], root: Path) -> None:
        self._images = {PurePath(path.relative_to(base)): path for path in images}
        self._masks: dict[PurePath, Path] = {}
        named = {(_place(image), _stem(image)) for image in self._images}
        places = {place for place, _ in named}
        for file in masks:
            mask = PurePath(file.relative_to(root))
            folder = mask.parent
            # A folder that is called as an image is holds the masks of that image.
            if _place(mask) not in places and (_place(folder), _bare(folder)) in named:
                self._masks[folder] = file.parent
            else:
                self._masks[mask] = file
        self._found: dict[PurePath, PurePath] = {}
        self._by_number: list[Path] = []

    def take(self, of_image: Callable[[PurePath], _Key], of_mask: Callable[[PurePath], _Key]) -> None:
        """Match images and masks of one key, unless two images have it; of several masks the one of the surest name."""
        images, masks = _by(self._images_left(), of_image), _by(self._masks_left(), of_mask)
        for key, same in images.items():
            if len(same) == 1 and key in masks:
                self._found[same[0]] = min(masks[key], key=_sureness)

    def take_from_anywhere(self) -> None:
        """Match by name alone where either side is not in folders, so that a folder's name says nothing."""
        images, masks = _by(self._images, _stem), _by(self._masks, _bare)
        for image in self._images_left():
            same = masks.get(_stem(image), [])
            if len(images[_stem(image)]) == len(same) == 1 and not (_place(image) and _place(same[0])):
                self._found[image] = same[0]

    def take_by_number(self) -> None:
        """Match by number in folders where nothing else tells images apart, nor masks, which say that they are."""
        images, masks = _by(self._images, _place), _by(self._masks, _place)
        for place in images.keys() & masks.keys():
            photos, marks = _numbered(images[place]), _numbered(masks[place])
            is_said = any(_WORD.search(re.sub(r"\d+", " ", _stem(mask))) for mask in marks.values())
            # Where some have their masks by name, a number is no name.
            if is_said and not self._found.keys() & set(images[place]):
                for number in sorted(photos.keys() & marks.keys()):
                    self._found[photos[number]] = marks[number]
                    self._by_number.append(self._images[photos[number]])

    def found(self) -> Matches:
        """What was matched, and what was not."""
        return Matches(
            {self._images[image]: self._masks[mask] for image, mask in self._found.items()},
            sorted(self._masks[mask] for mask in self._masks_left()),
            self._by_number,
        )

    def _images_left(self) -> list[PurePath]:
        return [image for image in self._images if image not in self._found]

    def _masks_left(self) -> list[PurePath]:
        taken = set(self._found.values())
        return [mask for mask in self._masks if mask not in taken]


def _by(paths: Iterable[PurePath], key: Callable[[PurePath], _Key]) -> dict[_Key, list[PurePath]]:
    found = defaultdict(list)
    for path in paths:
        found[key(path)].append(path)
    return dict(found)


def _numbered(paths: Sequence[PurePath]) -> dict[int, PurePath]:
    """Paths by their last number, where they differ in nothing else; else none."""
    parts = [_NUMBER.fullmatch(_stem(path)) for path in paths]
    around = {(part[1], part[3]) for part in parts if part}
    found = {int(part[2]): path for part, path in zip(parts, paths, strict=True) if part}
    return found if len(around) == 1 and len(found) == len(paths) else {}


def _place(path: PurePath) -> tuple[str, ...]:
    return tuple(part.lower().strip() for part in path.parts[:-1] if not is_mask_folder(part))


def _in_mask_folder(path: PurePath) -> bool:
    return any(map(is_mask_folder, path.parts[:-1]))


def _stem(path: PurePath) -> str:
    """A name without the ending of an image."""
    return (path.stem if is_picture_name(path) else path.name).lower()


def _plain(mask: PurePath) -> str:
    """What the image is called whose mask has one of the two usual names."""
    return _stem(mask).removesuffix("_mask")


def _bare(mask: PurePath) -> str:
    """What the image is called by the mask's name without the words and endings that say it is a mask's."""
    stem = _AFTER.sub("", _stem(mask))
    stem = _BEFORE.sub("", stem) if stem == _stem(mask) else stem
    return _stem(PurePath(stem)) if stem else _stem(mask)


def _sureness(mask: PurePath) -> tuple[bool, bool, str]:
    """Sorts the surest first."""
    return not _stem(mask).endswith("_mask"), mask.suffix.lower() != ".png", mask.name
