"""A folder that another program puts pictures into."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import DataError, SourceError
from ..images.files import IMAGE_SUFFIXES, read_image
from .base import Frame, Stoppable

__all__ = ["WatchedFolder"]

_POLL_SECONDS = 0.2
_REMEMBERED = 100_000
_Stamp = tuple[int, int]
"""Time of the last change in nanoseconds, and size in bytes."""


class WatchedFolder(Stoppable):
    """Every picture that comes into a folder after the start, oldest first.

    A file counts as complete when its size and time stay the same from one look to the next; one that is written anew
    under its old name is inspected again. What has been inspected may be removed by whoever owns the folder, and is not
    inspected again when it comes back, as all of a network share does that was away for a moment. A folder that cannot
    be read is an ERROR once, and is waited for.

    Args:
        folder: to watch; subfolders are not.
        poll_seconds: between two looks.
        remembered: names of removed pictures that are kept in memory, the newest ones. A picture older than those of
            which the names are forgotten may have been inspected before: it is an ERROR.

    Raises:
        SourceError: there is no such folder.
    """

    def __init__(self, folder: Path, poll_seconds: float = _POLL_SECONDS, remembered: int = _REMEMBERED) -> None:
        if not folder.is_dir():
            raise SourceError(f"There is no folder {folder} to watch; create it or give another one.")
        self._folder, self._poll, self._remembered = folder, poll_seconds, remembered
        self._done: dict[str, _Stamp] = self._look() or {}
        self._forgotten_up_to = -math.inf
        self._lost = False

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        before: dict[str, _Stamp] = {}
        while not self._stopped:
            now = self._look()
            for name, image, error in self._lost_news() if now is None else self._news(now, before):
                yield Frame(index, name, image, time.time(), error)
                index += 1
                if self._stopped:
                    return
            if now is not None:
                before = now
                self._forget(now)
            time.sleep(self._poll)

    def status(self) -> tuple[str, int]:
        """Whether the folder can be read."""
        return ("lost" if self._lost else "running"), 0

    def _lost_news(self) -> Iterator[tuple[str, None, str]]:
        if not self._lost:
            self._lost = True
            yield str(self._folder), None, f"{self._folder} cannot be read; check the disk and the network share."

    def _news(self, now: dict[str, _Stamp], before: dict[str, _Stamp]) -> Iterator[tuple[str, Any, str]]:
        """Path, image and error of each picture that is complete and was not inspected."""
        self._lost = False
        ready = [name for name, stamp in now.items() if before.get(name) == stamp != self._done.get(name)]
        for name in sorted(ready, key=lambda name: (now[name][0], name)):
            path = self._folder / name
            known, self._done[name] = name in self._done, now[name]
            if not known and now[name][0] <= self._forgotten_up_to:
                yield str(path), None, f"{path} may have been inspected long ago; write it anew to have it inspected."
                continue
            try:
                yield str(path), read_image(path), ""
            except DataError as error:
                yield str(path), None, str(error)

    def _forget(self, now: dict[str, _Stamp]) -> None:
        """Let go of the oldest names of removed pictures, or a year of names stays in memory.

        By age and never because a name is not there at this moment; where nothing is there at all, the folder itself
        may be away, and nothing is forgotten.
        """
        if not now or len(self._done) <= len(now) + self._remembered:
            return
        gone = sorted((stamp[0], name) for name, stamp in self._done.items() if name not in now)
        # Half of them, so that sorting is rare.
        for changed, name in gone[: len(gone) - self._remembered // 2]:
            del self._done[name]
            self._forgotten_up_to = max(self._forgotten_up_to, changed)

    def _look(self) -> dict[str, _Stamp] | None:
        """Name → stamp of each picture; None when the folder cannot be read."""
        found: dict[str, _Stamp] = {}
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith("."):
                        # One that went between two lines above is not there; the others still are.
                        with suppress(FileNotFoundError):
                            facts = entry.stat()
                            found[entry.name] = (facts.st_mtime_ns, facts.st_size)
        except OSError:
            return None
        return found
