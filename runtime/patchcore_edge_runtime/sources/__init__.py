"""Where frames come from; all sources speak the protocol of ``base``."""

from __future__ import annotations

import glob
from pathlib import Path

from ..errors import SourceError
from .base import Frame, Source
from .files import IMAGE_SUFFIXES, ImageSource, image_files, read_image
from .video import CameraSource, VideoSource

__all__ = [
    "IMAGE_SUFFIXES",
    "CameraSource",
    "Frame",
    "ImageSource",
    "Source",
    "VideoSource",
    "image_files",
    "open_source",
    "read_image",
]


def open_source(text: str) -> Source:
    """Open what ``-s`` names: a camera index, a stream URL, a video or image file, a folder or a glob pattern.

    Raises:
        SourceError: there is nothing of that name, or it gives no frames.
    """
    if text.isdecimal():
        return CameraSource(int(text))
    if "://" in text:
        return CameraSource(text)
    path = Path(text)
    if path.is_dir():
        return ImageSource(image_files(path), text)
    if path.is_file():
        return ImageSource([path], text) if path.suffix.lower() in IMAGE_SUFFIXES else VideoSource(path)
    if glob.has_magic(text):
        names = glob.glob(text, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute patterns
        matches = sorted(Path(name) for name in names)
        return ImageSource([match for match in matches if match.is_file()], text)
    raise SourceError(f"There is no {text}; give a camera index, a URL, a video, an image, a folder or a pattern.")
