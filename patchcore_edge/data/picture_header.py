"""What an image file's header says of its pixels, without decoding them."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.pages import picture_count

__all__ = ["PictureHeader", "decoded_by_pillow", "read_header", "turned_upright"]

_ORIENTATION = 274
_TRANSPOSING = frozenset({5, 6, 7, 8})
_TURNED_FORMATS = frozenset({"JPEG", "MPO", "PNG", "TIFF", "WEBP"})
"""What OpenCV turns upright by EXIF as it decodes."""
_PNG_BITS = 24
"""Where a PNG's header has the bits of a channel."""
_FAULTS = (OSError, ValueError, SyntaxError, TypeError, LookupError, struct.error, Warning)
"""What Pillow raises for files that are no picture, or half of one; of warnings, where they are errors."""
_SEVERAL_IN_ONE = frozenset({"GIF", "PNG", "WEBP", "TIFF", "MPO"})
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS = 256, 257, 258


@dataclass(frozen=True)
class PictureHeader:
    """Of one file.

    Attributes:
        stored: height and width of the pixels as they are stored.
        orientation: EXIF's number, from 1 (upright) to 8; 1 in formats that decoding does not turn.
        bits: of a channel, as the file declares them; 8 for less.
        channels: ``grey``, ``colour``, or either ``with transparency``.
        pictures: how many the file says that it holds.
    """

    stored: tuple[int, int]
    orientation: int
    bits: int
    channels: str
    pictures: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width of the decoded picture."""
        return self.stored[::-1] if self.orientation in _TRANSPOSING else self.stored

    @property
    def is_transparent(self) -> bool:
        """Whether pixels may be transparent."""
        return self.channels.endswith("transparency")


def read_header(source: Path | bytes) -> PictureHeader | None:
    """The header of a file or of a file's bytes; None where it cannot be read, or is not understood."""
    # Imported where it is used, as few commands need it.
    from PIL import Image as Pillow

    try:
        # Opened by its path: that knows how, where it is in an archive or elsewhere.
        opened = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
        with opened, Pillow.open(opened) as image:
            return _header(image)
    except (*_FAULTS, Pillow.DecompressionBombError):
        return None


def decoded_by_pillow(file: Path, mode: str) -> NDArray[Any]:
    """Pixels of a file turned upright, where OpenCV does not tell what matters: palettes and what is transparent.

    Args:
        file: an image.
        mode: Pillow's name of what is wanted: ``RGBA``, or ``P`` for the numbers of a palette's colours; those are 1
            everywhere in a picture without palette.

    Raises:
        DataError: the file cannot be decoded.
    """
    from PIL import Image as Pillow
    from PIL import ImageOps

    try:
        with file.open("rb") as opened, Pillow.open(opened) as image:
            if mode == "P" and image.mode != "P":
                return np.ones(1, np.uint8)
            return np.asarray(ImageOps.exif_transpose(image.convert(mode)))
    except (*_FAULTS, Pillow.DecompressionBombError):
        raise DataError(f"{file} is not an image that can be decoded; take it out or replace it.") from None


def turned_upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Stored pixels, ``[H,W]`` or ``[H,W,C]``, as EXIF's orientation shows them."""
    if orientation in _TRANSPOSING:
        pixels = pixels.swapaxes(0, 1)
    # After the transposition: which axes run backwards.
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _header(image: Any) -> PictureHeader:
    width, height = image.size
    bits = _bits(image)
    if image.format == "TIFF":
        # Pillow has turned these already.
        width, height = image.tag_v2[_TIFF_WIDTH], image.tag_v2[_TIFF_HEIGHT]
    return PictureHeader((int(height), int(width)), _orientation(image), bits, _channels(image), _pictures(image))


def _pictures(image: Any) -> int:
    """By what decodes them; Pillow, which also counts thumbnails and smaller copies, says whether it is to be asked."""
    if image.format not in _SEVERAL_IN_ONE or getattr(image, "n_frames", 1) < 2:
        return 1
    image.fp.seek(0)
    return picture_count(image.fp.read())


def _orientation(image: Any) -> int:
    from PIL import Image as Pillow

    if image.format not in _TURNED_FORMATS:
        return 1
    try:
        # Not a PNG's own getexif: it decodes the picture.
        found = Pillow.Image.getexif(image).get(_ORIENTATION, 1)
    except _FAULTS:
        return 1
    return found if found in range(1, 9) else 1


def _bits(image: Any) -> int:
    if image.format == "PNG":
        image.fp.seek(0)
        head = image.fp.read(_PNG_BITS + 1)
        return max(int(head[_PNG_BITS]), 8)
    if image.format == "TIFF":
        found = image.tag_v2.get(_TIFF_BITS, (8,))
        return max(int(found[0] if isinstance(found, tuple) else found), 8)
    return 16 if image.mode.startswith("I") else 32 if image.mode == "F" else 8


def _channels(image: Any) -> str:
    colour = "grey" if image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I") else "colour"
    return f"{colour} with transparency" if image.has_transparency_data else colour
