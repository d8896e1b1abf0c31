"""A folder that another program puts pictures into."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import DataError, SourceError
from ..images.files import read_image
from ..images.listing import list_images
from ..path_text import path_text
from .base import Frame, Stoppable

__all__ = ["WatchedFolder"]

_POLL_SECONDS = 0.2
_SETTLE_SECONDS = 3.0
_REMEMBERED = 100_000
_LOOKING_SHARE = 0.5
"""Of the time, at most, that goes into looking: a folder with very many pictures is looked at less often."""
_Stamp = tuple[int, int]
"""Time of the last change in nanoseconds, and size in bytes."""


class WatchedFolder(Stoppable):
    """Every picture that comes into a folder after the start, oldest first.

    A file counts as complete when its size and time stay the same from one look to the next and it can be decoded to
    its end; one that cannot, as its writer may have reserved all of its size first, is an ERROR when it stays as it is.
    One that is written anew under its old name is inspected again. What has been inspected may be removed by whoever
    owns the folder, and is not inspected again when it comes back, as all of a network share does that was away for a
    moment. A folder that cannot be read is an ERROR once, and is waited for.

    Args:
        folder: to watch.
        poll_seconds: between two looks, at least.
        remembered: names of removed pictures that are kept in memory, the newest ones. A picture older than those of
            which the names are forgotten may have been inspected before: it is an ERROR.
        recursive: watch its subfolders too, also those that come later.
        leave_out: folders below it that the line itself writes pictures to.
        settle_seconds: that a file which cannot be decoded has to stay as it is before it is an ERROR.

    Raises:
        SourceError: there is no such folder.
    """

    def __init__(
        self,
        folder: Path,
        poll_seconds: float = _POLL_SECONDS,
        remembered: int = _REMEMBERED,
        *,
        recursive: bool = True,
        leave_out: Sequence[Path] = (),
        settle_seconds: float = _SETTLE_SECONDS,
    ) -> None:
        if not folder.is_dir():
            raise SourceError(f"There is no folder {folder} to watch; create it or give another one.")
        self._folder, self._poll, self._remembered = folder, poll_seconds, remembered
        self._recursive, self._leave_out, self._settle = recursive, leave_out, settle_seconds
        self._look_seconds = 0.0
        self._done: dict[str, _Stamp] = self._look() or {}
        self._unsettled: dict[str, tuple[_Stamp, float]] = {}
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
            time.sleep(max(self._poll, self._look_seconds / _LOOKING_SHARE))

    def status(self) -> tuple[str, int]:
        """Whether the folder can be read."""
        return ("lost" if self._lost else "running"), 0

    def _lost_news(self) -> Iterator[tuple[str, None, str]]:
        if not self._lost:
            self._lost = True
            yield path_text(self._folder), None, f"{self._folder} cannot be read; check the disk and the network share."

    def _news(self, now: dict[str, _Stamp], before: dict[str, _Stamp]) -> Iterator[tuple[str, Any, str]]:
        """Path, image and error of each picture that is complete and was not inspected."""
        self._lost = False
        ready = [name for name, stamp in now.items() if before.get(name) == stamp != self._done.get(name)]
        for name in sorted(ready, key=lambda name: (now[name][0], name)):
            path, known = Path(name), name in self._done
            if not known and now[name][0] <= self._forgotten_up_to:
                self._done[name] = now[name]
                error = f"{path_text(path)} may have been inspected long ago; write it anew to have it inspected."
                yield path_text(path), None, error
                continue
            if self._is_unsettled(name, now[name]):
                continue
            try:
                image, problem = read_image(path), ""
            except DataError as error:
                if not self._has_settled(name, now[name]):
                    continue
                image, problem = None, str(error)
            self._done[name] = now[name]
            self._unsettled.pop(name, None)
            yield path_text(path), image, problem

    def _is_unsettled(self, name: str, stamp: _Stamp) -> bool:
        """Whether a file could not be decoded as it is, a moment ago."""
        seen, until = self._unsettled.get(name, (None, 0.0))
        return seen == stamp and time.monotonic() < until

    def _has_settled(self, name: str, stamp: _Stamp) -> bool:
        """Whether a file that cannot be decoded has been as it is for long enough; else it is noted."""
        if self._unsettled.get(name, (None,))[0] == stamp:
            return True
        self._unsettled[name] = (stamp, time.monotonic() + self._settle)
        return self._settle <= 0

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
        """Path → stamp of each picture; None when the folder cannot be read."""
        found: dict[str, _Stamp] = {}
        start = time.perf_counter()
        try:
            listing = list_images(self._folder, recursive=self._recursive, leave_out=self._leave_out, count=False)
        except DataError:
            return None
        for path in listing.files:
            # One that went since it was listed is not there; the others still are.
            with suppress(OSError):
                facts = path.stat()
                found[str(path)] = (facts.st_mtime_ns, facts.st_size)
        self._look_seconds = time.perf_counter() - start
        return found
