"""Image files: read and written in this one place, by cameras' frames, sinks and fits alike."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import MAKE_ROOM, ConfigError, DataError, FrameError, cannot_read, cannot_write
from .claimed_size import claimed_size
from .compressed_pixels import pixels_fault
from .formats import IMAGE_SUFFIXES, named_format
from .image_format import USUAL, image_format
from .jpeg import is_jpeg
from .jpeg_scan import scan_fault
from .listing import list_images
from .pages import picture_count
from .png import without_texts
from .preprocess import Image
from .size_limit import bytes_fault, picture_fault, room_for
from .transparency import with_alpha
from .whole import is_whole

__all__ = [
    "IMAGE_SUFFIXES",
    "decode_bgr8",
    "decode_image",
    "encode_image",
    "image_files",
    "read_bytes",
    "read_image",
    "write_bytes",
    "write_image",
]

_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 90]
# Level 1: three times as fast as the default, a few percent larger.
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


def image_files(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The image files of a folder, sorted by name; ``list_images`` says what is left out too.

    Raises:
        DataError: the folder cannot be opened.
    """
    return list(list_images(folder, recursive=recursive, count=False).files)


def read_image(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Decode an image file as the cameras of this project deliver it.

    Returns:
        HxW or HxWx3 (BGR) or, where a pixel of it is not opaque, HxWx4 (BGRA); uint8 or uint16, turned upright by its
        EXIF orientation.

    Raises:
        DataError: the file is missing, no image that OpenCV can decode, or too large to be decoded.
    """
    return decode_image(read_bytes(path), path)


def read_bytes(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """All of a file; raises ``DataError`` when it is missing, may not be opened, or is larger than the memory."""
    # A path that reads itself, such as a member of an archive, stays what it is.
    file = path if isinstance(path, Path) else Path(path)
    try:
        if fault := bytes_fault(file.stat().st_size, "read it"):
            raise DataError(f"{os.fspath(path)} {fault}")
        # Not cv2.imread: it cannot open a path outside the code page on Windows, and prints to stderr.
        return np.frombuffer(file.read_bytes(), np.uint8)
    except OSError as error:
        raise cannot_read(os.fspath(path), error, DataError) from None
    except MemoryError:
        raise DataError(f"{os.fspath(path)} is larger than the memory; replace it.") from None


def decode_image(data: bytes | NDArray[np.uint8], path: str | os.PathLike[str]) -> NDArray[Any]:
    """Decode an image file's bytes; see ``read_image``.

    Args:
        data: all of the file.
        path: the file's name, for the error.

    Raises:
        DataError: it is no image that OpenCV can decode, a part of one, a damaged one, or several, too large to be
            decoded, or has transparency that OpenCV cannot decode.
    """
    data = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
    view: memoryview = memoryview(data)  # type: ignore[arg-type]
    found = image_format(data)
    if found is not None and found not in USUAL and found is not named_format(path):
        raise DataError(f"{os.fspath(path)} holds {found}, and its name says otherwise; save it as PNG or JPEG.")
    # What a picture takes whose size cannot be told, nobody knows.
    claim = None if found is None else claimed_size(view)
    if claim is None:
        raise _no_image(path)
    with room_for(claim.memory):
        if fault := picture_fault(view, claim):
            raise DataError(f"{os.fspath(path)} {fault}")
        return _decoded(data, path)


def _decoded(data: NDArray[np.uint8], path: str | os.PathLike[str]) -> NDArray[Any]:
    """What the decoder makes of a file, where that is all of it; raises ``DataError`` as ``decode_image``."""
    view: memoryview = memoryview(data)  # type: ignore[arg-type]
    image = _decode(data, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    if image is None:
        raise _no_image(path)
    if not is_whole(view, image):
        raise DataError(f"{os.fspath(path)} breaks off before the end of its picture; copy it again.")
    if fault := _fault_within(data, image):
        raise DataError(f"{os.fspath(path)} is damaged within its picture ({fault}); copy it again.")
    if (pictures := picture_count(view)) > 1:
        raise DataError(
            f"{os.fspath(path)} holds {pictures} pictures, of which only the first would be looked at; "
            "save each as a file of its own."
        )
    whole = with_alpha(data, image, _decode)
    if whole is None:
        raise DataError(f"{os.fspath(path)} has transparency that cannot be decoded; save it without, or as PNG.")
    return whole


def _no_image(path: str | os.PathLike[str]) -> DataError:
    return DataError(f"{os.fspath(path)} is not an image that can be decoded; take it out or replace it.")


def _fault_within(data: NDArray[np.uint8], image: NDArray[Any]) -> str:
    view = memoryview(data)  # type: ignore[arg-type]
    return scan_fault(data.tobytes(), image) if is_jpeg(view) else pixels_fault(view, image)


def decode_bgr8(data: NDArray[np.uint8]) -> Image | None:
    """HxWx3 uint8 BGR of an image file's bytes, whatever they hold; None when OpenCV cannot decode them.

    For what this project or a camera's JPEG encoder made; ``decode_image`` leaves depth and channels as they are.

    Raises:
        FrameError: it is larger than a frame may be.
    """
    # Of OpenCV's many decoders those that nobody asked for are not tried on what comes from outside.
    if image_format(data) not in USUAL:
        return None
    view: memoryview = memoryview(data)  # type: ignore[arg-type]
    claim = claimed_size(view)
    if claim is None:
        return None
    with room_for(claim.memory):
        if fault := picture_fault(view, claim):
            raise FrameError(f"The picture {fault}")
        return _decode(data, cv2.IMREAD_COLOR)


def _decode(data: NDArray[np.uint8], flags: int) -> NDArray[Any] | None:
    try:
        return cv2.imdecode(without_texts(data), flags)
    except (cv2.error, MemoryError):
        return None


def write_image(path: Path, image: Image) -> None:
    """Encode by the path's suffix and write; raises ``ConfigError`` when the disk refuses."""
    write_bytes(path, encode_image(image, path.suffix))


def encode_image(image: Image, suffix: str) -> bytes:
    """An image file's bytes, by OpenCV; ``suffix`` as in ``.png`` or ``.jpg``."""
    try:
        done, data = cv2.imencode(suffix, image, {".png": _PNG, ".jpg": _JPEG}.get(suffix, []))
    except cv2.error:  # no such format
        done = False
    if not done:
        raise ConfigError(f"OpenCV cannot write {suffix or 'nameless'} images; choose .png or .jpg.")
    return data.tobytes()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file and the folders above it, or no part of it; raises ``ConfigError`` when the disk refuses."""
    there = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not cv2.imwrite: it says nothing when the disk is full.
        path.write_bytes(data)
    except OSError as error:
        if not there:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise cannot_write(path, error, MAKE_ROOM) from None
