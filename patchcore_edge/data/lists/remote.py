"""What URLs name, through fsspec: ``https://``, ``s3://``, ``memory://``, ``simplecache::https://`` …

fsspec and the packages of its file systems are asked for by a URL alone; without one nothing here reaches a network.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

from patchcore_edge_runtime.errors import ConfigError, PatchcoreEdgeError
from patchcore_edge_runtime.images.size_limit import bytes_fault
from patchcore_edge_runtime.path_text import path_text
from patchcore_edge_runtime.shown import shown

from .stored_path import StoredPath, stored_path

__all__ = [
    "RemoteFile",
    "RemoteRange",
    "ask",
    "data_path",
    "data_text",
    "is_url",
    "network_notes",
    "same_place",
    "url_name",
    "url_of",
]

_Answer = TypeVar("_Answer")
_TRIES = 3
_PAUSE_SECONDS = 0.5
_shared: dict[tuple[type, str], Any] = {}
"""File systems by what they were made with, for the process as fsspec keeps them."""


class _RefusedError(OSError):
    """What is not asked for again: the answer would be of no use."""


_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, _RefusedError)
"""What trying again does not change."""


def is_url(text: str) -> bool:
    """Whether a text is a URL and no path."""
    return "://" in text


def data_path(text: str | Path) -> Path:
    """The path of data: as it is, or the URL's."""
    if isinstance(text, Path) or not is_url(text):
        return Path(text) if isinstance(text, str) else text
    if text.startswith("file://"):
        return Path(url2pathname(urlsplit(text).path))
    return stored_path(url_name(text), RemoteFile(text))


def url_name(url: str) -> str:
    """The URL without what may be a secret: user, password, query, fragment."""
    found = urlsplit(url.rpartition("::")[2])
    return f"{found.scheme}:/{found.netloc.rpartition('@')[2]}/{found.path.lstrip('/')}"


def same_place(url: str, other: str) -> bool:
    """Whether two URLs ask the same machine by the same protocol."""
    here, there = (urlsplit(one.rpartition("::")[2]) for one in (url, other))
    return (here.scheme, here.netloc) == (there.scheme, there.netloc)


def network_notes(path: Path) -> list[str]:
    """What to say before the images of a list or of shards are read, which jobs do several times."""
    url = url_of(path)
    if url is None or "::" in url:
        return []
    return [
        f"{path_text(path)}: images are asked for over the network each time they are read, several times in a fit; "
        "simplecache:: before the URL keeps copies of them in a temporary folder while the command runs."
    ]


def data_text(path: Path) -> str:
    """What a person types for data: the path, or its URL without user, password and query."""
    return str(path) if url_of(path) is None else str(path).replace(":/", "://", 1)


def url_of(path: Path) -> str | None:
    """The URL behind a path; None where it has none."""
    store = path.store if isinstance(path, StoredPath) else None
    return store.url if isinstance(store, RemoteFile) else None


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """The whole of what a URL names."""

    url: str

    def size(self) -> int:
        """Not known without asking; reading sees whether there is memory for it."""
        return 0

    def read(self) -> bytes:
        """All of it; raises ``OSError``, also where it is larger than memory allows."""
        return ask(self.url, _read_whole)


@dataclass(frozen=True, slots=True)
class RemoteRange:
    """Some bytes of what a URL names."""

    url: str
    start: int
    length: int

    def size(self) -> int:
        """Bytes."""
        return self.length

    def read(self) -> bytes:
        """All of them; raises ``OSError``."""
        return ask(self.url, self._read)

    def _read(self, system: Any, place: str) -> bytes:
        data = system.cat_file(place, start=self.start, end=self.start + self.length)
        if len(data) != self.length:
            # A server that knows no ranges sends everything.
            raise _RefusedError(
                None, f"{len(data):,} bytes came where {self.length:,} were asked for; give simplecache::{self.url}"
            )
        return bytes(data)


def ask(url: str, work: Callable[[Any, str], _Answer]) -> _Answer:
    """Do something with the file system of a URL; a failing network is asked three times.

    Args:
        url: of what the work is about.
        work: takes the file system and the place in it.

    Raises:
        OSError: it is not there, or cannot be had; says no secret.
        ConfigError: there is no such protocol, or its package is not installed.
    """
    system, place = _system(url)
    for left in reversed(range(_TRIES)):
        try:
            return work(system, place)
        except PatchcoreEdgeError:
            raise
        except MemoryError:
            raise OSError(None, "it is larger than the memory") from None
        # Each file system raises errors of its own library.
        except Exception as error:  # noqa: BLE001
            if not left or _is_final(error):
                raise OSError(None, _reason(error)) from None
            time.sleep(_PAUSE_SECONDS)
    raise AssertionError


def _system(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs

        system, place = url_to_fs(url)
    except ImportError as error:
        raise ConfigError(
            f"{shown(url)} needs a package that is not installed ({error}); install patchcore-edge[remote], and "
            "fsspec's own package for this protocol, such as s3fs, gcsfs or adlfs."
        ) from None
    except ValueError as error:
        raise ConfigError(f"{shown(url)} cannot be read ({shown(error)}); give a path, or a URL of fsspec.") from None
    # fsspec makes one for each thread; what one of them keeps copies of the others would fetch again.
    return _shared.setdefault((type(system), repr(system.storage_options)), system), place


def _read_whole(system: Any, place: str) -> bytes:
    with system.open(place, "rb") as file:
        if fault := bytes_fault(int(getattr(file, "size", 0) or 0), "read it"):
            raise _RefusedError(None, f"it {fault}")
        return bytes(file.read())


def _is_final(error: BaseException) -> bool:
    """Whether trying again changes nothing. fsspec calls all that fails on the way a missing file, by its cause."""
    cause = error.__cause__ or error
    status = getattr(cause, "status", 0)
    return 400 <= status < 500 if cause is not error or status else isinstance(error, _FINAL)


def _reason(error: BaseException) -> str:
    error = error.__cause__ or error
    told = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return shown(told).partition("\n")[0]
