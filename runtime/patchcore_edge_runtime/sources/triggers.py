"""When a frame is inspected: each one, every so often, or when somebody asks."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

from ..errors import ConfigError
from ..shown import name_fault
from .base import Frame, Source, SourceAround
from .live import Captured, LiveSource
from .watch import WatchedFolder

__all__ = ["GIVEN_UP", "IntervalSource", "TriggeredSource"]

_LOG = logging.getLogger(__name__)

MAX_WAITING = 64
"""Triggers that may wait; further ones are refused, and the caller is told."""

GIVEN_UP = "Nobody waited any longer for the verdict of this part; look at what held the line up."
_OVERTAKEN = "The next part was called before there was a picture of this one; check the camera."
_UNCALLED = (
    "It came when no part was called: too late for one, or of another program; call each part before its picture."
)
_IN_DOUBT = (
    "It cannot be told of which part this picture is: {why}; have each part's picture before the next is called."
)
_LATE_SECONDS = 10.0
"""Of silence, after which a picture that did not come for its call is taken never to come."""

_POLL_SECONDS = 0.02
_SAME_MOMENT_SECONDS = 0.1
"""Calls so close to each other come from several callers and not from one part after the other."""


class _Gate(SourceAround):
    """A source behind a trigger."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._stopped = False

    def status(self) -> tuple[str, int]:
        """The inner source's state; frames between two triggers were never asked for and do not count."""
        return self._source.status()[0], 0

    def stop(self) -> None:
        """End the iteration after the frame in hand."""
        self._stopped = True
        super().stop()


class IntervalSource(_Gate):
    """The newest frame every ``interval_ms`` milliseconds; a tick that an inspection overran is not made up for.

    Raises:
        ConfigError: the source is not live; of files every frame is inspected.
    """

    def __init__(self, source: Source, interval_ms: float) -> None:
        if not isinstance(source, LiveSource):
            raise ConfigError("A trigger every so many milliseconds needs a camera or a stream; take it out for files.")
        super().__init__(source)
        self._camera = source
        self._seconds = interval_ms / 1e3

    def __iter__(self) -> Iterator[Frame]:
        due = time.monotonic()
        while not self._stopped:
            frame = self._camera.poll(after=due)
            if frame is None:
                continue
            yield frame
            due = max(due + self._seconds, time.monotonic())


@dataclass
class _Call:
    """A trigger that waits for its frame.

    Attributes:
        moment: ``time.monotonic`` of the call.
        picture: the frame that is its own.
        error: why it gets none, in place of a picture.
    """

    number: int
    part: str
    moment: float
    picture: Captured | None = None
    error: str = ""

    @property
    def settled(self) -> bool:
        return self.picture is not None or bool(self.error)

    def is_overtaken_by(self, later: _Call) -> bool:
        """Whether the part before the camera is the other call's by now."""
        same = self.part == later.part and self.part != ""
        return not same and later.moment - self.moment > _SAME_MOMENT_SECONDS


class TriggeredSource(_Gate):
    """One frame for each call of ``trigger``.

    Of a live source it is the first frame that the camera was asked for after the call, whatever the line was doing at
    that time; while the source is lost, an ERROR. Where the next part was called before there was a frame of this one,
    it is an ERROR: such a frame would show the wrong part. News that a live source was lost comes without being asked
    for. Of a watched folder it is the picture that comes after the call, by the same rules; a picture that came when no
    part was called is an ERROR, and so is one for a call while another that got none may still get its own, late. Of
    other files it is the next one.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._waiting: deque[_Call] = deque()
        self._changed = threading.Condition()
        self._numbers = count(1)
        self._given = 0
        self._ended: deque[_Call] = deque()
        self._owed = 0
        self._last = time.monotonic()

    def trigger(self, part: str = "") -> int:
        """Ask for one frame, from any thread.

        Args:
            part: which part it shows, 200 characters at most; frames of one part are debounced together.

        Raises:
            ConfigError: the name is too long or has control characters.

        Returns:
            the number that its frame will have as ``trigger``, from 1; 0 when 64 triggers already wait, or the source
            has ended: then there will be no frame for this one.
        """
        if fault := name_fault(part):
            raise ConfigError(fault)
        with self._changed:
            if self._stopped or len(self._waiting) >= MAX_WAITING:
                return 0
            call = _Call(next(self._numbers), part, time.monotonic())
            self._waiting.append(call)
            self._last = call.moment
            self._changed.notify_all()
        return call.number

    def give_up(self, number: int) -> None:
        """Nobody waits for this trigger any more: its frame is an ERROR, whatever it will show. From any thread."""
        with self._changed:
            for call in self._waiting:
                if call.number == number:
                    call.error, call.picture = GIVEN_UP, None
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Frame]:
        try:
            if isinstance(self._source, LiveSource):
                yield from self._live(self._source)
            else:
                yield from self._watched(self._source) if isinstance(self._source, WatchedFolder) else self._files()
        finally:
            self._stopped = True

    def _files(self) -> Iterator[Frame]:
        frames = iter(self._source)
        while not self._stopped:
            with self._changed:
                if not self._waiting:
                    self._changed.wait(_POLL_SECONDS)
                    continue
                call = self._waiting[0]
            # One given up before its file was looked for takes none; later, the file that came was for it.
            frame = None if call.error else next(frames, None)
            with self._changed:
                self._waiting.popleft()
            if frame is None and not call.error:
                return
            frame = frame or Frame(0, f"trigger {call.number}", None, time.time())
            if call.error:
                frame = replace(frame, image=None, error=call.error)
            yield replace(frame, index=self._given, part=call.part, trigger=call.number)
            self._given += 1

    def _watched(self, folder: WatchedFolder) -> Iterator[Frame]:
        """Pictures of a folder say nothing of the call that they are for: what cannot be told is an ERROR."""
        while not self._stopped:
            with self._changed:
                self._end_calls(folder.trouble)
            while self._ended:
                call = self._ended.popleft()
                yield self._answered(Frame(0, f"trigger {call.number}", None, time.time(), call.error), call)
            frame = folder.poll()
            if frame is not None:
                yield self._answered(*self._matched(folder, frame))
                folder.remember()
            else:
                self._write_off(folder)

    def _answered(self, frame: Frame, call: _Call | None) -> Frame:
        self._given += 1
        part, number = ("", 0) if call is None else (call.part, call.number)
        return replace(frame, index=self._given - 1, part=part, trigger=number)

    def _matched(self, folder: WatchedFolder, frame: Frame) -> tuple[Frame, _Call | None]:
        """What becomes of a picture that has come, and the call that it ends."""
        arrived = folder.arrived
        if arrived is None:
            return frame, None
        with self._changed:
            called = [call for call in self._waiting if call.moment <= arrived and not call.error]
            for call in called:
                if call.is_overtaken_by(called[-1]):
                    call.error = _OVERTAKEN
            self._end_calls()
            self._last = time.monotonic()
            if not self._waiting or self._waiting[0].moment > arrived:
                self._owed = max(0, self._owed - 1)
                return replace(frame, image=None, error=_UNCALLED), None
            call = self._waiting.popleft()
            more = folder.came_since(call.moment) > len(self._waiting)
        why = "a part before it got none" if self._owed else "more have come than parts were called" if more else ""
        return (replace(frame, image=None, error=_IN_DOUBT.format(why=why)) if why else frame), call

    def _end_calls(self, error: str = "") -> None:
        """Take out those that get no picture: all where there is an error for all. Each is owed one that may come."""
        for call in [call for call in self._waiting if call.error or error]:
            call.error = call.error or error
            self._waiting.remove(call)
            self._ended.append(call)
            self._owed += 1
            self._last = time.monotonic()

    def _write_off(self, folder: WatchedFolder) -> None:
        """When it has been silent for long, what did not come does not come any more."""
        now = time.monotonic()
        with self._changed:
            if folder.trouble or self._waiting or folder.came_since(0):
                self._last = now
            if self._owed and now - self._last >= _LATE_SECONDS:
                _LOG.warning("For %d calls there was no picture in time; those from now on count anew.", self._owed)
                self._owed = 0

    def _live(self, camera: LiveSource) -> Iterator[Frame]:
        camera.listen(self._take)
        try:
            while not self._stopped:
                # Nothing is asked for: only the news of a loss is passed on.
                frame = self._answer(camera) if self._waiting else camera.poll(float("inf"), _POLL_SECONDS)
                if frame is not None:
                    yield frame
        finally:
            camera.listen(None)

    def _take(self, captured: Captured) -> None:
        """A frame has come: it is the first open call's for whose part it can be."""
        with self._changed:
            calls = [call for call in self._waiting if call.moment <= captured.moment]
            for call in calls:
                if not call.settled and call.is_overtaken_by(calls[-1]):
                    call.error = _OVERTAKEN
            first = next((call for call in calls if not call.settled), None)
            if first is not None and first.moment <= captured.since < float("inf"):
                first.picture = captured
            self._changed.notify_all()

    def _answer(self, camera: LiveSource) -> Frame | None:
        with self._changed:
            call = self._waiting[0]
            if not call.settled:
                self._changed.wait(_POLL_SECONDS)
            picture, error = call.picture, call.error
        frame: Frame | None
        if picture is not None:
            frame = camera.number(picture)
        else:
            frame = camera.error_frame(error) if error else camera.lost_frame()
        if frame is None:
            return None
        with self._changed:
            self._waiting.popleft()
        return replace(frame, part=call.part, trigger=call.number)
