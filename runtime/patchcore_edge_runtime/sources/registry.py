"""What ``-s`` may name, in one table: how a name begins, what opens it, and whether it is live.

A new kind of source is a row here: a prefix, a function that opens it, and what it needs to know of the line.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from urllib.request import url2pathname

from ..errors import ConfigError, DataError, SourceError, cannot_read
from ..images.formats import is_picture_name
from ..images.listing import LeftOut, describe_left_out, list_images, why_left_out
from ..path_text import home_path, path_text
from ..shown import may_hold_login, shown_url
from ..validation import require
from .address import Address
from .base import Source, Turned
from .camera import OpenCvCapture
from .captures import log_in, open_http
from .files import ImageSource
from .live import LiveSource
from .settings import CAMERA_KEYS, HTTP_KEYS, LOGIN_KEYS, LiveSettings
from .video import VideoSource
from .watch import WatchedFolder

__all__ = [
    "SCHEMES",
    "FolderSettings",
    "Scheme",
    "is_live",
    "is_watched",
    "misplaced_settings",
    "open_source",
    "source_in",
]

_LOG = logging.getLogger(__name__)
_NO_VIDEO = frozenset({".csv", ".tsv", ".parquet", ".pq", ".tar", ".zip", ".gz", ".json", ".txt", ".xml", ".toml"})
_FILE_URL = "file://"
_SOME_KEYS = {**dict.fromkeys(CAMERA_KEYS, "a camera at this PC"), **dict.fromkeys(LOGIN_KEYS, "a network camera")}
_SOME_KEYS |= dict.fromkeys(HTTP_KEYS, "an http:// or https:// camera")


@dataclass(frozen=True)
class FolderSettings:
    """How a folder of pictures is read.

    Attributes:
        recursive: its subfolders too.
        leave_out: folders that the line itself writes pictures to.
        settle: seconds that a file in a watched folder has to stay as it is where nothing says that it is complete.
        rotate: degrees clockwise that pictures are turned by.
        state: of a watched folder: file that keeps over a restart what was inspected.
        holder: how people call the line that has that file.
    """

    recursive: bool = True
    leave_out: tuple[Path, ...] = ()
    settle: float = 3.0
    rotate: int = 0
    state: Path | None = None
    holder: str = ""


@dataclass(frozen=True)
class Scheme:
    """How sources of one kind are opened.

    Attributes:
        opens: takes the whole name and how long a live source is waited for; raises ``SourceError``.
        live: it is a camera or a stream, whose frames come at their own pace.
        opens_path: in place of ``opens``, where what follows the prefix is a path, which a line's file may give
            relative to itself; takes the whole name and how folders are read.
        takes: the settings that mean something to it and not to every source.
    """

    opens: Callable[[str, LiveSettings], Source] | None = None
    live: bool = False
    opens_path: Callable[[str, FolderSettings], Source] | None = None
    takes: frozenset[str] = frozenset()


def _camera(text: str, settings: LiveSettings) -> LiveSource:
    target = int(text) if text.isdecimal() else text
    name = f"camera {text}" if isinstance(target, int) else text
    return LiveSource(name, lambda: OpenCvCapture(target, name, settings), settings)


def _stream(text: str, settings: LiveSettings) -> LiveSource:
    address = log_in(Address.parse(text), settings)
    return LiveSource(address.shown, lambda: OpenCvCapture(address, address.shown, settings), settings)


def _http(text: str, settings: LiveSettings) -> LiveSource:
    return LiveSource(shown_url(text), lambda: open_http(text, settings), settings)


def _watch(text: str, settings: FolderSettings) -> WatchedFolder:
    folder = Path(text[len("watch:") :])
    _require_readable(folder)
    return WatchedFolder(
        folder,
        recursive=settings.recursive,
        leave_out=settings.leave_out,
        settle_seconds=settings.settle,
        rotate=settings.rotate,
        state=settings.state,
        holder=settings.holder,
    )


def _path(text: str, settings: FolderSettings) -> Source:
    path = Path(text)
    _require_readable(path)
    if path.is_dir():
        return _folder(path, settings)
    if path.is_file():
        if path.suffix.lower() in _NO_VIDEO:
            raise SourceError(
                f"{text} is no picture and no video; give one, or a folder or pattern of pictures (`patchcore-edge "
                "predict` takes lists and shards)."
            )
        return ImageSource([path], path_text(text)) if is_picture_name(path) else VideoSource(path)
    if glob.has_magic(text):
        return _pattern(text)
    if may_hold_login(text):
        raise SourceError("There is no such file (not shown: is it a camera's URL with a login, without its rtsp://?).")
    raise SourceError(f"There is no {text}; give a camera index, a URL, a video, an image, a folder or a pattern.")


def _require_readable(path: Path) -> None:
    """A folder or file that this user may not read does not get better by starting again: exit code 2 and not 3."""
    try:
        if path.is_dir():
            os.scandir(path).close()
        elif path.is_file():  # and no pipe, which would be waited for
            path.open("rb").close()
    except PermissionError as error:
        raise cannot_read(path, error) from None
    except OSError:
        return  # whoever opens it next says what is wrong


def _folder(folder: Path, settings: FolderSettings) -> ImageSource:
    try:
        listing = list_images(folder, recursive=settings.recursive, leave_out=settings.leave_out)
    except DataError as error:
        raise SourceError(str(error)) from None
    _say_left_out(listing.left_out, folder, listing.files)
    return ImageSource(listing.files, path_text(folder))


def _pattern(text: str) -> ImageSource:
    """The files that a pattern matches; where it names their ending, whatever that is."""
    names = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns
    matches = [path for path in map(Path, names) if path.is_file()]
    if not matches:
        raise SourceError(f"No file fits the pattern {path_text(text)}; give one that names pictures that are there.")
    spelled = PurePath(text).parts
    literal = next(place for place, part in enumerate(spelled) if glob.has_magic(part))
    ending = PurePath(text).suffix
    any_ending = bool(ending) and not glob.has_magic(ending)
    why = {path: why_left_out(path.parts[literal:], any_ending=any_ending) for path in matches}
    left_out = [LeftOut(path, reason) for path, reason in why.items() if reason is not None]
    files = [path for path, reason in why.items() if reason is None]
    _say_left_out(left_out, Path(*spelled[:literal]), files)
    return ImageSource(files, path_text(text))


def _say_left_out(left_out: Sequence[LeftOut], folder: Path, files: Sequence[Path]) -> None:
    sentence = describe_left_out(left_out, folder)
    if not files:
        endings = "files ending in .png, .jpg, .bmp, .tif, .webp or in another format that OpenCV reads"
        raise SourceError(f"{folder} holds no images that are inspected; give {endings}. {sentence}".strip())
    if sentence:
        _LOG.warning("%s", sentence)


_STREAM = Scheme(_stream, live=True, takes=LOGIN_KEYS)
_HTTP = Scheme(_http, live=True, takes=LOGIN_KEYS | HTTP_KEYS)
_CAMERA = Scheme(_camera, live=True, takes=CAMERA_KEYS)
_PATH = Scheme(opens_path=_path)

SCHEMES: dict[str, Scheme] = {
    "watch:": Scheme(opens_path=_watch),
    "http://": _HTTP,
    "https://": _HTTP,
    "/dev/": _CAMERA,
}
"""By the beginning of the name. A number is a camera, any other URL a stream, the rest a path."""


def _prefix(text: str) -> str:
    url = text.lower() if "://" in text else text  # of a path, small and capital letters are told apart
    return next((prefix for prefix in SCHEMES if url.startswith(prefix)), "")


def _scheme(text: str) -> Scheme:
    text = _plain(text)
    if text.isdecimal():
        return _CAMERA
    return SCHEMES.get(_prefix(text)) or (_STREAM if "://" in text else _PATH)


def is_live(text: str) -> bool:
    """Whether ``text`` names a camera or a stream."""
    return _scheme(text).live


def is_watched(text: str) -> bool:
    """Whether ``text`` names a folder that another program puts pictures into."""
    return _scheme(text).opens_path is _watch


def _plain(text: str) -> str:
    """A path that is written as a URL, or from the home folder on (``~/parts``), as the path; else the same name."""
    if text.lower().startswith(_FILE_URL):
        return url2pathname(text[len(_FILE_URL) :].removeprefix("localhost"))
    prefix = "watch:" if text.startswith("watch:") else ""
    rest = text.removeprefix(prefix)
    return f"{prefix}{home_path(rest)}" if rest.startswith("~") else text


def source_in(folder: Path, text: str) -> str:
    """The same name, its path, where it is one, relative to ``folder`` in place of where the program runs."""
    text = _plain(text)
    if _scheme(text).opens_path is None:
        return text
    prefix = text[: len(_prefix(text))]
    return f"{prefix}{folder / text.removeprefix(prefix)}"


def open_source(
    text: str | os.PathLike[str] | int,
    settings: LiveSettings | None = None,
    *,
    recursive: bool = True,
    leave_out: Sequence[Path] = (),
    settle: float = 3.0,
    state: Path | None = None,
    holder: str = "",
) -> Source:
    """Open what ``-s`` names; what is left out of a folder is logged.

    Args:
        text: a camera's number or device path, a stream URL, a video or image file, a folder, ``watch:FOLDER`` for the
            pictures that come into it from now on, or a glob pattern.
        settings: how long a camera or stream is waited for, what it is asked for, and how pictures are turned.
        recursive: of a folder, its subfolders too.
        leave_out: folders that are written to, and whose pictures are none to inspect.
        settle: seconds that a file in a watched folder has to stay as it is where nothing says that it is complete.
        state: of a watched folder: file that keeps over a restart what was there and what was inspected.
        holder: how people call the line that has that file.

    Raises:
        SourceError: there is nothing of that name, or it gives no frames.
        ConfigError: ``text`` is no name at all, this user may not read it, or the settings are for another kind of
            source.
    """
    require("source", text, (str, os.PathLike, int), "a camera's number, a URL or a path")
    text = _plain(str(text) if isinstance(text, int) else os.fspath(text))
    settings = settings or LiveSettings()
    if misplaced := misplaced_settings(text, settings):
        raise ConfigError(f"{misplaced}.")
    scheme = _scheme(text)
    if scheme.opens_path is not None:
        source = scheme.opens_path(
            text, FolderSettings(recursive, tuple(leave_out), settle, settings.rotate, state, holder)
        )
    else:
        assert scheme.opens is not None
        source = scheme.opens(text, settings)
    # A live source turns its pictures itself, where it captures them, and so does a watched folder.
    turns_itself = scheme.live or isinstance(source, WatchedFolder)
    return Turned(source, settings.rotate) if settings.rotate and not turns_itself else source


def misplaced_settings(text: str, settings: LiveSettings) -> str:
    """What of the settings means nothing to the source that ``text`` names, in words; empty when all of it does."""
    if text in ("", "watch:"):
        return "the source names nothing; give a camera index, a URL, a video, an image, a folder or a pattern"
    wrong = sorted(key for key in _SOME_KEYS.keys() - _scheme(text).takes if getattr(settings, key) is not None)
    if not wrong:
        return ""
    where = "; set it in the camera's own pages" if is_live(text) and wrong[0] in CAMERA_KEYS else ""
    return f"{wrong[0]} is for {_SOME_KEYS[wrong[0]]} and not for {_shown(text)}{where or '; leave it out'}"


def _shown(text: str) -> str:
    return shown_url(text) if "://" in text else text
