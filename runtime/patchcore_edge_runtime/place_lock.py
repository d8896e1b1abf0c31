"""One writer for each place: a lock of the operating system, which goes with its process, whatever that dies of.

The guarded place for what Linux and Windows call a lock.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from .errors import ConfigError

__all__ = ["PlaceLock"]

_LOG = logging.getLogger(__name__)
# Of a lock file that was given up between our opening and our locking it.
_TRIES = 10
_MAX_TEXT = 1000
# What file systems say that know no locks; whoever else refuses has somebody on it.
_UNKNOWN = {errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP}

if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> None:
        # Beyond the text, which others may read: Windows lets nobody read what is locked.
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class PlaceLock:
    """Keeps everybody else, another sink of this process too, from writing to a file or a folder.

    The lock is a file beside a file (``.results.jsonl.lock``), and ``.lock`` inside a folder. It says who holds it and
    is removed at the end; what a killed process leaves of it locks nothing.

    Args:
        place: file, or folder that is there.
        holder: how people call the one who holds it.

    Raises:
        ConfigError: somebody else holds it, who is named. Where nothing can be locked the log says so.
    """

    def __init__(self, place: Path, holder: str = "") -> None:
        self._path = lock_file(place)
        self._descriptor: int | None = None
        try:
            self._descriptor = _locked(self._path)
        except _HeldError:
            raise ConfigError(
                f"{place} is in use by {_who(self._path)}; stop that one, or give this one a place of its own."
            ) from None
        except OSError as error:
            # A file may be written in a folder that may not. Where neither may, the sink itself says so.
            if os.access(place, os.W_OK) or not isinstance(error, PermissionError):
                _LOG.warning(
                    "%s cannot be locked (%s); see to it that nobody else writes there.", place, error.strerror
                )
            return
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, _introduction(holder))

    def close(self) -> None:
        """Let the next one in; may be called more than once."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if sys.platform == "win32":
            os.close(descriptor)
        # Before the lock goes: whoever opened the file meanwhile sees that it has gone, and makes another.
        with suppress(OSError):
            self._path.unlink()
        if sys.platform != "win32":
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @staticmethod
    def holder(place: Path) -> str | None:
        """Who holds a place at this moment, in words; None when nobody does."""
        path = lock_file(place)
        if not path.exists():
            return None
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            return None
        try:
            _take(descriptor)
        except OSError as error:
            return None if error.errno in _UNKNOWN else _who(path)
        finally:
            os.close(descriptor)
        return None


class _HeldError(Exception):
    pass


def lock_file(place: Path) -> Path:
    """Where the lock of a place lies, by whichever name the place is called."""
    place = place.resolve()
    return place / ".lock" if place.is_dir() else place.with_name(f".{place.name}.lock")


def _locked(path: Path) -> int:
    """An open descriptor of the file at ``path``, locked; raises ``_HeldError`` when somebody else has it."""
    for _ in range(_TRIES):
        descriptor = _opened(path)
        try:
            _take(descriptor)
            if sys.platform == "win32" or os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(descriptor)
            if error.errno in _UNKNOWN:
                raise
            raise _HeldError from None
        os.close(descriptor)
    raise _HeldError


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except PermissionError:
        if not path.exists():
            raise
        # Another user's: it can be locked all the same.
        return os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))


def _introduction(holder: str) -> bytes:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return json.dumps({"line": holder, "process": os.getpid(), "host": platform.node(), "since": since}).encode()


def _who(path: Path) -> str:
    try:
        with path.open("rb") as reader:
            facts = json.loads(reader.read(_MAX_TEXT))
        line, process, host, since = (facts[key] for key in ("line", "process", "host", "since"))
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"
    if (process, host) == (os.getpid(), platform.node()):
        return "another sink of this process"
    words = "".join(
        one for one in f"{line or 'another line'} (process {process} on {host}, since {since})" if one.isprintable()
    )
    return words[:200]
