"""A folder that another program puts pictures into."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DataError, SourceError
from ..images.files import decode_image, read_bytes
from ..images.listing import list_images
from ..images.whole import ends_for_sure
from ..path_text import path_text
from .base import Frame, Stoppable

__all__ = ["WatchedFolder"]

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.2
_SETTLE_SECONDS = 3.0
_REMEMBERED = 100_000
_LOOKING_SHARE = 0.5
"""Of the time, at most, that goes into looking: a folder with very many pictures is looked at less often."""
_Stamp = tuple[int, int]
"""Time of the last change in nanoseconds, and size in bytes."""
_Identity = tuple[int, int, int, int]


class _Facts(NamedTuple):
    """What the file system says of a picture; times in nanoseconds, size in bytes."""

    changed: int
    size: int
    device: int
    inode: int
    attributes_changed: int

    @property
    def stamp(self) -> _Stamp:
        return self.changed, self.size

    @property
    def identity(self) -> _Identity | None:
        """The same under whichever name; None where the file system does not number its files."""
        return (self.device, self.inode, self.changed, self.size) if self.inode else None


class _Done(NamedTuple):
    """A picture that is not inspected any more, with its digest where it was read."""

    facts: _Facts
    digest: bytes | None = None


class WatchedFolder(Stoppable):
    """Every picture that comes into a folder after the start, oldest first.

    A file counts as complete when its size and time stay the same from one look to the next and it can be decoded to
    its end; one that cannot, as its writer may have reserved all of its size first, is an ERROR when it stays as it is,
    and one whose format has no mark for its end is waited for where it ends in equal bytes. One that is written anew
    under its old name is inspected again, also with the size and time of the old one; one that only gets another name
    is not. What has been inspected may be removed by whoever owns the folder, and is not inspected again when it comes
    back, as all of a network share does that was away for a moment. Where a share is mounted over an empty folder, what
    is on it counts as there before. A folder that cannot be read is an ERROR once, and is waited for.

    Args:
        folder: to watch.
        poll_seconds: between two looks, at least.
        remembered: names of removed pictures that are kept in memory, the newest ones. A picture older than those of
            which the names are forgotten may have been inspected before: it is an ERROR.
        recursive: watch its subfolders too, also those that come later.
        leave_out: folders below it that the line itself writes pictures to.
        settle_seconds: that a file which may not be complete has to stay as it is before it counts.

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
        self._done: dict[str, _Done] = {}
        self._identities: set[_Identity | None] = set()
        self._devices: set[int] = set()
        self._unsettled: dict[str, tuple[_Stamp, float]] = {}
        self._forgotten_up_to = -math.inf
        self._lost = False
        self._leave_alone(self._look() or {})
        if self._done:
            what = "picture that is" if len(self._done) == 1 else "pictures that are"
            _LOG.warning("%d %s in %s already: not inspected.", len(self._done), what, path_text(folder))

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        before: dict[str, _Facts] = {}
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

    def _news(self, now: dict[str, _Facts], before: dict[str, _Facts]) -> Iterator[tuple[str, Any, str]]:
        """Path, image and error of each picture that is complete and was not inspected."""
        self._lost = False
        ready = [name for name, facts in now.items() if name in before and before[name].stamp == facts.stamp]
        ready = [name for name in ready if self._may_be_new(name, now[name])]
        for name in sorted(ready, key=lambda name: (now[name].changed, name)):
            path, facts = Path(name), now[name]
            if name not in self._done and facts.changed <= self._forgotten_up_to:
                self._note(name, facts)
                error = f"{path_text(path)} may have been inspected long ago; write it anew to have it inspected."
                yield path_text(path), None, error
            elif not self._is_unsettled(name, facts.stamp):
                found = self._read(name, facts)
                if found is not None:
                    yield path_text(path), *found

    def _may_be_new(self, name: str, facts: _Facts) -> bool:
        """Whether a picture is another one than what was there; without looking into it."""
        known = self._done.get(name)
        if known is None:
            # Renamed, or linked: what it is called is new, and it is not.
            if facts.identity is not None and facts.identity in self._identities:
                self._note(name, facts)
                return False
            return True
        if known.facts == facts:
            return False
        if known.facts.stamp != facts.stamp:
            return True
        # Of the same size and time. What was read is read again; of another, both have to say that it was replaced,
        # as a share that was mounted again may number its files anew.
        if known.digest is not None:
            return True
        replaced = (
            known.facts.device == facts.device
            and known.facts.inode != facts.inode
            and known.facts.attributes_changed < facts.attributes_changed
        )
        if not replaced:
            self._note(name, facts)
        return replaced

    def _read(self, name: str, facts: _Facts) -> tuple[Any, str] | None:
        """Image and error of a picture; None where it is not complete, or the very one that was read before."""
        known, digest = self._done.get(name), None
        try:
            data = read_bytes(name)
            digest = hashlib.blake2b(data.data, digest_size=16).digest()
            if known is not None and known.digest == digest and known.facts.stamp == facts.stamp:
                self._note(name, facts, digest)
                return None
            # A picture that is written anew at this moment would be half of one part and half of another.
            if _facts(Path(name)) != facts:
                return None
            image, problem = decode_image(data, name), ""
        except OSError:
            return None
        except DataError as error:
            image, problem = None, str(error)
        sure = not problem and ends_for_sure(memoryview(data))  # type: ignore[arg-type]
        if not sure and not self._has_settled(name, facts.stamp):
            return None
        self._note(name, facts, digest)
        self._unsettled.pop(name, None)
        return image, problem

    def _note(self, name: str, facts: _Facts, digest: bytes | None = None) -> None:
        self._done[name] = _Done(facts, digest)
        self._identities.add(facts.identity)

    def _leave_alone(self, now: dict[str, _Facts]) -> None:
        for name, facts in now.items():
            self._note(name, facts)

    def _is_unsettled(self, name: str, stamp: _Stamp) -> bool:
        """Whether a file was not known to be complete as it is, a moment ago."""
        seen, until = self._unsettled.get(name, (None, 0.0))
        return seen == stamp and time.monotonic() < until

    def _has_settled(self, name: str, stamp: _Stamp) -> bool:
        """Whether a file that may not be complete has been as it is for long enough; else it is noted."""
        if self._unsettled.get(name, (None,))[0] == stamp:
            return True
        self._unsettled[name] = (stamp, time.monotonic() + self._settle)
        return self._settle <= 0

    def _forget(self, now: dict[str, _Facts]) -> None:
        """Let go of the oldest names of removed pictures, or a year of names stays in memory.

        By age and never because a name is not there at this moment; where nothing is there at all, the folder itself
        may be away, and nothing is forgotten.
        """
        if not now or len(self._done) <= len(now) + self._remembered:
            return
        gone = sorted((one.facts.changed, name) for name, one in self._done.items() if name not in now)
        # Half of them, so that sorting is rare.
        for changed, name in gone[: len(gone) - self._remembered // 2]:
            del self._done[name]
            self._forgotten_up_to = max(self._forgotten_up_to, changed)
        self._identities = {one.facts.identity for one in self._done.values()}

    def _look(self) -> dict[str, _Facts] | None:
        """Path → facts of each picture; None when the folder cannot be read."""
        found: dict[str, _Facts] = {}
        start = time.perf_counter()
        try:
            device = self._folder.stat().st_dev
            listing = list_images(self._folder, recursive=self._recursive, leave_out=self._leave_out, count=False)
        except (DataError, OSError):
            return None
        for path in listing.files:
            # One that went since it was listed is not there; the others still are.
            with suppress(OSError):
                found[str(path)] = _facts(path)
        self._look_seconds = time.perf_counter() - start
        self._meet(device, found)
        return found

    def _meet(self, device: int, found: dict[str, _Facts]) -> None:
        """A share that was mounted over the folder brings pictures that were there before; nobody saw them come."""
        if device in self._devices:
            return
        first = not self._devices
        self._devices.add(device)
        if not first and len(found) > 1 and not any(name in self._done for name in found):
            self._leave_alone(found)
            _LOG.warning("%s was mounted, with %d pictures: not inspected.", path_text(self._folder), len(found))


def _facts(path: Path) -> _Facts:
    facts = path.stat()
    return _Facts(facts.st_mtime_ns, facts.st_size, facts.st_dev, facts.st_ino, facts.st_ctime_ns)
