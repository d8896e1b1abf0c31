"""Image files, one by one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, SourceError
from .base import Frame, Stoppable

__all__ = ["IMAGE_SUFFIXES", "ImageSource", "image_files", "read_image"]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def image_files(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The image files of a folder by suffix, sorted by name; hidden files are left out."""
    found = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(
        path
        for path in found
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def read_image(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Decode an image file as the cameras of this project deliver it.

    Returns:
        HxW or HxWx3 (BGR) or HxWx4 (BGRA), uint8 or uint16, turned upright by its EXIF orientation.

    Raises:
        DataError: the file is missing or no image that OpenCV can decode.
    """
    try:
        # Not cv2.imread: it cannot open a path outside the code page on Windows, and prints to stderr.
        data = np.fromfile(path, np.uint8)
    except OSError:
        raise DataError(f"{os.fspath(path)} cannot be read; check that it is there and may be opened.") from None
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
    try:
        image = cv2.imdecode(data, flags) if data.size else None
    except cv2.error:
        image = None
    if image is None:
        raise DataError(f"{os.fspath(path)} is not an image that can be decoded; take it out or replace it.")
    return image


class ImageSource(Stoppable):
    """The given files in order; one that cannot be read becomes a frame without an image."""

    def __init__(self, files: Sequence[Path], name: str) -> None:
        if not files:
            raise SourceError(f"{name} holds no images; it needs files ending in {', '.join(sorted(IMAGE_SUFFIXES))}.")
        self._files = list(files)

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self._files):
            if self._stopped:
                return
            try:
                yield Frame(index, str(path), read_image(path), time.time())
            except DataError as error:
                yield Frame(index, str(path), None, time.time(), str(error))
