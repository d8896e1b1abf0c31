"""Defect masks as people have them become marked pixels: two values, labels, colours, transparency, soft edges.

A mask lies on its photo pixel by pixel or not at all. Where its size is that of the photo's pixels as they are stored,
and EXIF turns those upright, it is turned with them; any other size is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.files import read_image
from patchcore_edge_runtime.images.listing import list_images
from patchcore_edge_runtime.path_text import path_text

from .picture_header import PictureHeader, decoded_by_pillow, read_header, turned_upright

__all__ = ["MaskPixels", "Masks", "mask_files"]

_JPEG = b"\xff\xd8"
_NEIGHBOURS = np.ones((3, 3), np.uint8)
_WITH_FLOATS = (np.uint8, np.uint16, np.float32)
"""What OpenCV erodes and dilates."""


@dataclass(frozen=True)
class MaskPixels:
    """A mask as it lies on its upright photo.

    Attributes:
        marked: ``[H,W]`` True where the part is defective.
        is_soft: whether it has values between marked and not, of which the upper half counts.
    """

    marked: NDArray[np.bool_]
    is_soft: bool


class Masks:
    """The masks of some photos.

    Args:
        pairs: photo and mask of each, a file or a folder of files.
    """

    def __init__(self, pairs: Iterable[tuple[Path, Path]]) -> None:
        self._pairs = tuple(pairs)
        self._headers: dict[Path, PictureHeader | None] = {}

    def __len__(self) -> int:
        return len(self._pairs)

    def read(self, photo: Path, mask: Path) -> MaskPixels:
        """The marks of a mask; of a folder, all that are in its files.

        Black is background, and so is what is transparent; where all that is not transparent is black, black marks. Any
        other value or colour marks. But in a JPEG, and where a value never fills 3x3 pixels, values up to half of the
        largest are what soft edges and compression leave, and do not.

        Raises:
            DataError: a file cannot be read, or does not fit its photo.
        """
        header = self._header(photo)
        size = read_image(photo).shape[:2] if header is None else header.upright
        placed = []
        for file in mask_files(mask):
            found = _read(file)
            orientation = self._orientation(found.marked.shape, size, header)
            if orientation is None:
                raise DataError(f"{_misfit(file, found.marked.shape, photo, size)} {_REMEDY}")
            placed.append(MaskPixels(turned_upright(found.marked, orientation), found.is_soft))
        marked = np.logical_or.reduce([one.marked for one in placed])
        return MaskPixels(np.asarray(marked, np.bool_), any(one.is_soft for one in placed))

    def require_fit(self) -> None:
        """Refuse masks of another size than their photos.

        Raises:
            DataError: there are such masks.
        """
        if self.misfits:
            rest = f" So it is with {len(self.misfits)} of {len(self)} masks." if len(self.misfits) > 1 else ""
            raise DataError(f"{self.misfits[0]}{rest} {_REMEDY}")

    @cached_property
    def misfits(self) -> list[str]:
        """A sentence for each mask whose header says that it does not lie on its photo."""
        found = []
        for photo, mask in self._pairs:
            header = self._header(photo)
            for file in mask_files(mask) if header is not None else []:
                own = self._header(file)
                if header and own and own.upright not in (header.upright, header.stored):
                    found.append(_misfit(file, own.upright, photo, header.upright))
        return found

    @cached_property
    def turned(self) -> list[Path]:
        """Masks that were drawn on the stored pixels of photos which EXIF turns."""
        return [mask for photo, mask in self._pairs if self._lies(photo, mask) == "stored"]

    @cached_property
    def doubtful(self) -> list[Path]:
        """Masks that fit turned photos either way (half a turn, mirrored, square), where no other says which."""
        return [] if self._are_stored else [mask for photo, mask in self._pairs if self._lies(photo, mask) == "either"]

    @cached_property
    def _are_stored(self) -> bool:
        """Whether all masks that fit one way only are drawn on stored pixels: then so are those that fit both ways."""
        ways = {self._lies(photo, mask) for photo, mask in self._pairs}
        return "stored" in ways and "upright" not in ways

    def _lies(self, photo: Path, mask: Path) -> str:
        """On which pixels of a photo that EXIF turns a mask fits: ``stored``, ``upright``, ``either``; else empty."""
        header = self._header(photo)
        own = self._header(mask_files(mask)[0]) if header and header.orientation != 1 else None
        if header is None or own is None or own.upright not in (header.stored, header.upright):
            return ""
        if header.stored == header.upright:
            return "either"
        return "stored" if own.upright == header.stored else "upright"

    def _orientation(self, size: tuple[int, ...], photo: tuple[int, ...], header: PictureHeader | None) -> int | None:
        """By what EXIF orientation a mask of a size lies on its photo; None where it does not."""
        if header is not None and size == header.stored and (size != photo or self._are_stored):
            return header.orientation
        return 1 if size == photo else None

    def _header(self, path: Path) -> PictureHeader | None:
        if path not in self._headers:
            self._headers[path] = read_header(path)
        return self._headers[path]


def mask_files(mask: Path) -> list[Path]:
    """The mask itself, or the images in it where it is a folder.

    Raises:
        DataError: the folder holds none.
    """
    files = list(list_images(mask, recursive=False).files) if mask.is_dir() else [mask]
    if not files:
        raise DataError(f"{mask} holds no masks; put the masks of its photo there, or take it out.")
    return files


_REMEDY = "Masks are not stretched: draw them on the photos that are there, or take them out."


def _misfit(mask: Path, size: tuple[int, ...], photo: Path, photo_size: tuple[int, ...]) -> str:
    return (
        f"The mask {path_text(mask)} has {size[1]}x{size[0]} pixels and its photo {path_text(photo)} "
        f"{photo_size[1]}x{photo_size[0]} (width x height)."
    )


def _read(file: Path) -> MaskPixels:
    values = _values(file)
    top = values.max(initial=0)
    if not ((values > 0) & (values < top)).any():
        return MaskPixels(np.asarray(values > 0), is_soft=False)
    marked = values > top / 2
    with file.open("rb") as opened:
        if opened.read(2) != _JPEG:
            # Of 3x3 pixels that are all alike at least one shows that the value is meant.
            meant = values[cv2.erode(values, _NEIGHBOURS) == cv2.dilate(values, _NEIGHBOURS)]
            marked |= (values > 0) & np.isin(values, np.unique(meant))
    return MaskPixels(np.asarray(marked), bool(((values > 0) & ~marked).any()))


def _values(file: Path) -> NDArray[Any]:
    """``[H,W]``: 0 for background, any other value for marks."""
    header = read_header(file)
    if header is not None and header.is_transparent:
        return _opaque(file)
    pixels = read_image(file)
    values = pixels[..., :3].max(2) if pixels.ndim == 3 else pixels
    if values.dtype not in _WITH_FLOATS:
        values = values.astype(np.float32)
    # A palette may begin with a colour for the background.
    return _palette_numbers(file, values) if values.min(initial=1) > 0 else values


def _opaque(file: Path) -> NDArray[np.float32]:
    """Colours as far as they cover; the cover itself, where all colours are black."""
    pixels = decoded_by_pillow(file, "RGBA").astype(np.float32)
    colour, cover = pixels[..., :3].max(2), pixels[..., 3] / 255
    covered = colour * cover
    return np.asarray(cover if cover.min() == 0 and not covered.any() else covered, np.float32)


def _palette_numbers(file: Path, values: NDArray[Any]) -> NDArray[Any]:
    return np.where(decoded_by_pillow(file, "P") > 0, values, 0).astype(values.dtype)
