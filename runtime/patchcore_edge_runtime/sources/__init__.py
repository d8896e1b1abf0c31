"""Where frames come from; all sources speak the protocol of ``base``."""

from __future__ import annotations

import glob
from pathlib import Path

from ..errors import SourceError
from ..images.files import IMAGE_SUFFIXES, image_files, read_image
from .base import Frame, Source
from .captures import OpenCvCapture, open_http, without_password
from .files import ImageSource
from .iterable import IterableSource
from .live import Capture, LiveSettings, LiveSource
from .video import VideoSource
from .watch import WatchedFolder

__all__ = [
    "IMAGE_SUFFIXES",
    "Capture",
    "Frame",
    "ImageSource",
    "IterableSource",
    "LiveSettings",
    "LiveSource",
    "Source",
    "VideoSource",
    "WatchedFolder",
    "image_files",
    "is_live",
    "open_source",
    "read_image",
    "without_password",
]

_WATCH = "watch:"
_DEVICES = "/dev/"


def is_live(text: str) -> bool:
    """Whether ``text`` names a camera or a stream."""
    return text.isdecimal() or "://" in text or text.startswith(_DEVICES)


def open_source(text: str, settings: LiveSettings | None = None) -> Source:
    """Open what ``-s`` names.

    Args:
        text: a camera index or device path, a stream URL, a video or image file, a folder, ``watch:FOLDER`` for the
            pictures that come into it from now on, or a glob pattern.
        settings: how long a camera or stream is waited for.

    Raises:
        SourceError: there is nothing of that name, or it gives no frames.
    """
    if is_live(text):
        return _open_live(text, settings or LiveSettings())
    if text.startswith(_WATCH):
        return WatchedFolder(Path(text.removeprefix(_WATCH)))
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


def _open_live(text: str, settings: LiveSettings) -> LiveSource:
    if text.lower().startswith(("http://", "https://")):
        return LiveSource(without_password(text), lambda: open_http(text, settings), settings)
    target = int(text) if text.isdecimal() else text
    name = f"camera {text}" if isinstance(target, int) else without_password(text) if "://" in text else text
    return LiveSource(name, lambda: OpenCvCapture(target, name, settings), settings)
