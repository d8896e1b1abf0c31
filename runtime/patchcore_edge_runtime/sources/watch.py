"""A folder that another program puts pictures into."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ..errors import DataError, SourceError
from ..images.files import decode_image, read_bytes
from ..images.listing import list_images
from ..images.whole import ends_for_sure
from ..path_text import path_text
from .base import Frame, Stoppable, turned
from .seen_pictures import PictureFacts, SeenPictures
from .settling import Settling

__all__ = ["WatchedFolder"]

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.2
_SETTLE_SECONDS = 3.0
_REMEMBERED = 100_000
_LOOKING_SHARE = 0.5
"""Of the time, at most, that goes into looking: a folder with very many pictures is looked at less often."""
_Looked = dict[str, PictureFacts]


class _Found(NamedTuple):
    """A picture that is complete, or why there is none; ``arrived`` is None of what is said of the folder itself."""

    name: str
    image: NDArray[Any] | None
    error: str
    arrived: float | None


class WatchedFolder(Stoppable):
    """Every picture that comes into a folder from now on, oldest first.

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
        rotate: degrees clockwise that each picture is turned by.
        state: file in which it is written down what was there and what was inspected, so that what comes while nobody
            watches is inspected at the next start; what is there at a start without it never is.
        holder: how people call the line, for whoever finds that file in use.

    Attributes:
        arrived: when the picture that ``poll`` gave last was first there, by ``time.monotonic``; None when it was no
            picture, but news of the folder.
        trouble: why the folder cannot be read; empty when it can.

    Raises:
        SourceError: there is no such folder.
        ConfigError: the state file cannot be written, or another line has it.
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
        rotate: int = 0,
        state: Path | None = None,
        holder: str = "",
    ) -> None:
        if not folder.is_dir():
            raise SourceError(f"There is no folder {folder} to watch; create it or give another one.")
        self._folder, self._poll = folder, poll_seconds
        self._recursive, self._leave_out, self._rotate = recursive, leave_out, rotate
        self._settling = Settling(settle_seconds)
        self._look_seconds = 0.0
        self._index = 0
        self._devices: set[int] = set()
        self._came: dict[str, float] = {}
        self._before: _Looked = {}
        self._news: Iterator[_Found] | None = None
        self._due = 0.0
        self.trouble = ""
        self.arrived: float | None = None
        self._seen = SeenPictures(folder, state, holder, remembered)
        self._begin(state)

    def __iter__(self) -> Iterator[Frame]:
        while not self._stopped:
            frame = self.poll()
            if frame is not None:
                yield frame
                self.remember()

    def poll(self) -> Frame | None:
        """The next picture; None when none was complete at this look, which a pause comes before."""
        if self._news is None:
            time.sleep(max(0.0, self._due - time.monotonic()))
            now = self._look()
            self._news = self._lost_news() if now is None else self._look_through(now)
        found = next(self._news, None)
        if found is None:
            self._news = None
            # Whoever asks for more has recorded what there was.
            self.remember()
            self._due = time.monotonic() + max(self._poll, self._look_seconds / _LOOKING_SHARE)
            return None
        image = turned(found.image, self._rotate) if found.image is not None and self._rotate else found.image
        self.arrived = found.arrived
        frame = Frame(self._index, found.name, image, time.time(), found.error)
        self._index += 1
        return frame

    def remember(self) -> None:
        """What ``poll`` gave has been recorded: it is not inspected again, by another run neither."""
        self._seen.save()

    def came_since(self, moment: float) -> int:
        """How many pictures have come since then, by ``time.monotonic``, that ``poll`` has not given."""
        return sum(came >= moment for came in self._came.values())

    def status(self) -> tuple[str, int]:
        """Whether the folder can be read."""
        return ("lost" if self.trouble else "running"), 0

    def close(self) -> None:
        """Let go of the state file."""
        self._seen.close()

    def _begin(self, state: Path | None) -> None:
        device = self._seen.device
        now = self._look() or {}
        where = path_text(self._folder)
        # Where nothing was ever there, it may have been the place that a share is mounted over.
        if self._seen.known and (len(self._seen) or self._seen.device == device):
            # Before any call that comes after this.
            self._note_arrivals(now)
            new = sum(name not in self._seen for name in now)
            if new:
                _LOG.warning("%d %s came into %s since the last run: inspected now.", new, _pictures(new), where)
            return
        self._leave_alone(now)
        if now:
            be = "is" if len(now) == 1 else "are"
            later = "" if state is None else f" What comes from now on will be, while this line is down too ({state})."
            _LOG.warning(
                "%d %s that %s in %s already: not inspected.%s", len(now), _pictures(len(now)), be, where, later
            )
        self._seen.save()

    def _lost_news(self) -> Iterator[_Found]:
        if not self.trouble:
            self.trouble = f"{self._folder} cannot be read; check the disk and the network share."
            yield _Found(path_text(self._folder), None, self.trouble, None)

    def _look_through(self, now: _Looked) -> Iterator[_Found]:
        """Each picture that is complete and was not inspected; the oldest first."""
        self.trouble = ""
        self._note_arrivals(now)
        before = self._before
        ready = [name for name, facts in now.items() if name in before and before[name].stamp == facts.stamp]
        ready = [name for name in ready if self._may_be_new(name, now[name])]
        for name in sorted(ready, key=lambda name: (now[name].changed, name)):
            facts, shown, arrived = now[name], path_text(name), self._came.get(name, time.monotonic())
            if name not in self._seen and facts.changed <= self._seen.forgotten_up_to:
                self._note(name, facts)
                error = f"{shown} may have been inspected long ago; write it anew to have it inspected."
                yield _Found(shown, None, error, arrived)
            elif not self._settling.is_on(name, facts.stamp):
                found = self._read(name, facts)
                if found is not None:
                    yield _Found(shown, *found, arrived)
        self._before = now
        self._seen.forget(now)
        self._settling.keep(now)

    def _may_be_new(self, name: str, facts: PictureFacts) -> bool:
        """Whether a picture is another one than what was there; without looking into it."""
        known = self._seen.get(name)
        if known is None:
            # Renamed, or linked: what it is called is new, and it is not.
            if self._seen.has(facts.identity):
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

    def _read(self, name: str, facts: PictureFacts) -> tuple[Any, str] | None:
        """Image and error of a picture; None where it is not complete, or the very one that was read before."""
        known, digest = self._seen.get(name), None
        try:
            data = read_bytes(name)
            digest = hashlib.blake2b(data.data, digest_size=16).digest()
            if known is not None and known.digest == digest and known.facts.stamp == facts.stamp:
                self._note(name, facts, digest)
                return None
            # A picture that is written anew at this moment would be half of one part and half of another.
            if PictureFacts.of(Path(name)) != facts:
                return None
            image, problem = decode_image(data, name), ""
        except OSError:
            return None
        except DataError as error:
            image, problem = None, str(error)
        sure = not problem and ends_for_sure(memoryview(data))  # type: ignore[arg-type]
        if not sure and not self._settling.is_over(name, facts.stamp):
            return None
        self._note(name, facts, digest)
        self._settling.forget(name)
        return image, problem

    def _note(self, name: str, facts: PictureFacts, digest: bytes | None = None) -> None:
        self._seen.note(name, facts, digest)
        self._came.pop(name, None)

    def _leave_alone(self, now: _Looked) -> None:
        for name, facts in now.items():
            self._note(name, facts)

    def _note_arrivals(self, now: _Looked) -> None:
        """When each picture that is not done with was first there."""
        moment = time.monotonic()
        for name in self._came.keys() - now.keys():
            del self._came[name]
        for name, facts in now.items():
            known = self._seen.get(name)
            if known.facts.stamp != facts.stamp if known is not None else not self._seen.has(facts.identity):
                self._came.setdefault(name, moment)

    def _look(self) -> _Looked | None:
        """Path → facts of each picture; None when the folder cannot be read."""
        found: _Looked = {}
        start = time.perf_counter()
        try:
            device = self._folder.stat().st_dev
            listing = list_images(self._folder, recursive=self._recursive, leave_out=self._leave_out, count=False)
        except (DataError, OSError):
            return None
        for path in listing.files:
            # One that went since it was listed is not there; the others still are.
            with suppress(OSError):
                found[str(path)] = PictureFacts.of(path)
        self._look_seconds = time.perf_counter() - start
        self._meet(device, found)
        return found

    def _meet(self, device: int, found: _Looked) -> None:
        """A share that was mounted over the folder brings pictures that were there before; nobody saw them come."""
        self._seen.device = device
        if device in self._devices:
            return
        first = not self._devices
        self._devices.add(device)
        # Of a folder that an earlier run knew, what has come meanwhile is new wherever it is mounted from.
        expected = first or (self._seen.known and len(self._seen))
        if not expected and len(found) > 1 and not any(name in self._seen for name in found):
            self._leave_alone(found)
            _LOG.warning("%s was mounted, with %d pictures: not inspected.", path_text(self._folder), len(found))


def _pictures(count: int) -> str:
    return "picture" if count == 1 else "pictures"
