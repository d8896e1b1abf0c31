"""A folder that another program puts pictures into."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import DataError, SourceError
from ..images.files import IMAGE_SUFFIXES, read_image
from .base import Frame, Stoppable

__all__ = ["WatchedFolder"]

_POLL_SECONDS = 0.2
_Stamp = tuple[int, int]


class WatchedFolder(Stoppable):
    """Every picture that comes into a folder after the start, oldest first.

    A file counts as complete when its size and time stay the same from one look to the next; one that is written anew
    under its old name is inspected again. What has been inspected may be removed by whoever owns the folder. A folder
    that cannot be read (a network share gone) is an ERROR once, and is waited for.

    Args:
        folder: to watch; subfolders are not.
        poll_seconds: between two looks.

    Raises:
        SourceError: there is no such folder.
    """

    def __init__(self, folder: Path, poll_seconds: float = _POLL_SECONDS) -> None:
        if not folder.is_dir():
            raise SourceError(f"There is no folder {folder} to watch; create it or give another one.")
        self._folder, self._poll = folder, poll_seconds
        self._done: dict[str, _Stamp] = self._look() or {}
        self._lost = False

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        before: dict[str, _Stamp] = {}
        while not self._stopped:
            now = self._look()
            if now is None:
                if not self._lost:
                    self._lost = True
                    reason = f"{self._folder} cannot be read; check the disk and the network share."
                    yield Frame(index, str(self._folder), None, time.time(), reason)
                    index += 1
            else:
                self._lost = False
                for frame in self._new_frames(now, before, index):
                    yield frame
                    index += 1
                    if self._stopped:
                        return
                before = now
                # Forget files that are gone, or a year of names stays in memory.
                self._done = {name: stamp for name, stamp in self._done.items() if name in now}
            time.sleep(self._poll)

    def status(self) -> tuple[str, int]:
        """Whether the folder can be read."""
        return ("lost" if self._lost else "running"), 0

    def _new_frames(self, now: dict[str, _Stamp], before: dict[str, _Stamp], index: int) -> Iterator[Frame]:
        ready = [name for name, stamp in now.items() if before.get(name) == stamp != self._done.get(name)]
        for offset, name in enumerate(sorted(ready, key=lambda name: (now[name][0], name))):
            self._done[name] = now[name]
            path = self._folder / name
            try:
                yield Frame(index + offset, str(path), read_image(path), time.time())
            except DataError as error:
                yield Frame(index + offset, str(path), None, time.time(), str(error))

    def _look(self) -> dict[str, _Stamp] | None:
        """Name → time and size of each picture; None when the folder cannot be read."""
        found: dict[str, _Stamp] = {}
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith("."):
                        facts = entry.stat()
                        found[entry.name] = (facts.st_mtime_ns, facts.st_size)
        except FileNotFoundError:
            # A file went between two lines above, or the whole folder did.
            return found if self._folder.is_dir() else None
        except OSError:
            return None
        return found
