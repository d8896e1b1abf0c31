"""What ``-s`` may name, in one table: how a name begins, what opens it, and whether it is live.

A new kind of source is a row here: a prefix, a function that opens it, and what it needs to know of the line.
"""

from __future__ import annotations

import glob
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceError
from ..images.files import IMAGE_SUFFIXES, image_files
from ..shown import shown_url
from .base import Source
from .captures import OpenCvCapture, open_http
from .files import ImageSource
from .live import LiveSettings, LiveSource
from .video import VideoSource
from .watch import WatchedFolder

__all__ = ["SCHEMES", "Scheme", "is_live", "open_source", "source_in"]


@dataclass(frozen=True)
class Scheme:
    """How sources of one kind are opened.

    Attributes:
        opens: takes the whole name and how long a live source is waited for; raises ``SourceError``.
        live: it is a camera or a stream, whose frames come at their own pace.
        is_path: what follows the prefix is a path, which a line's file may give relative to itself.
    """

    opens: Callable[[str, LiveSettings], Source]
    live: bool = False
    is_path: bool = False


def _camera(text: str, settings: LiveSettings) -> LiveSource:
    target = int(text) if text.isdecimal() else text
    name = f"camera {text}" if isinstance(target, int) else text
    return LiveSource(name, lambda: OpenCvCapture(target, name, settings), settings)


def _stream(text: str, settings: LiveSettings) -> LiveSource:
    name = shown_url(text)
    return LiveSource(name, lambda: OpenCvCapture(text, name, settings), settings)


def _http(text: str, settings: LiveSettings) -> LiveSource:
    return LiveSource(shown_url(text), lambda: open_http(text, settings), settings)


def _watch(text: str, _: LiveSettings) -> WatchedFolder:
    return WatchedFolder(Path(text[len("watch:") :]))


def _path(text: str, _: LiveSettings) -> Source:
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


_STREAM = Scheme(_stream, live=True)
_CAMERA = Scheme(_camera, live=True)
_PATH = Scheme(_path, is_path=True)

SCHEMES: dict[str, Scheme] = {
    "watch:": Scheme(_watch, is_path=True),
    "http://": Scheme(_http, live=True),
    "https://": Scheme(_http, live=True),
    "/dev/": _CAMERA,
}
"""By the beginning of the name. A number is a camera, any other URL a stream, the rest a path."""


def _prefix(text: str) -> str:
    url = text.lower() if "://" in text else text  # of a path, small and capital letters are told apart
    return next((prefix for prefix in SCHEMES if url.startswith(prefix)), "")


def _scheme(text: str) -> Scheme:
    if text.isdecimal():
        return _CAMERA
    return SCHEMES.get(_prefix(text)) or (_STREAM if "://" in text else _PATH)


def is_live(text: str) -> bool:
    """Whether ``text`` names a camera or a stream."""
    return _scheme(text).live


def source_in(folder: Path, text: str) -> str:
    """The same name, its path, where it is one, relative to ``folder`` in place of where the program runs."""
    if not _scheme(text).is_path:
        return text
    prefix = text[: len(_prefix(text))]
    return f"{prefix}{folder / text.removeprefix(prefix)}"


def open_source(text: str, settings: LiveSettings | None = None) -> Source:
    """Open what ``-s`` names.

    Args:
        text: a camera index or device path, a stream URL, a video or image file, a folder, ``watch:FOLDER`` for the
            pictures that come into it from now on, or a glob pattern.
        settings: how long a camera or stream is waited for.

    Raises:
        SourceError: there is nothing of that name, or it gives no frames.
    """
    return _scheme(text).opens(text, settings or LiveSettings())
