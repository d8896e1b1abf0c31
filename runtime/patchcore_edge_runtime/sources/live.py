"""Cameras and streams: the newest frame, and a connection that is opened again for as long as it takes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

from ..errors import FrameError, PatchcoreEdgeError, SourceError
from ..shown import shown
from ..threads import keep_running, start_thread
from .base import Frame, turned
from .connection import Capture, Connection, let_go
from .pace import Captured, Pace, news
from .repeats import Repeats
from .settings import LiveSettings

__all__ = ["Capture", "Captured", "LiveSettings", "LiveSource"]

_LOG = logging.getLogger(__name__)
_FIRST_BACKOFF = 0.25
# A driver that hangs for good keeps its thread; beyond this many the source waits for one to come back.
_MAX_HUNG = 4
_POLL_SECONDS = 0.1


class LiveSource:
    """The newest frame of a camera or stream.

    Capture runs in a thread; a frame that is not taken before the next one comes is dropped and counted. A watchdog
    gives up a connection that hangs, and opens another one. Each time the source is lost the iteration gives one frame
    without an image, and goes on when frames come again. The same picture again and again is an error each time.

    Args:
        name: what people call it.
        open_capture: opens a connection; raises ``SourceError``.
        settings: how long to wait, and how pictures are turned.

    Raises:
        SourceError: it cannot be opened, unless ``settings.wait``.
    """

    live = True

    def __init__(self, name: str, open_capture: Callable[[], Capture], settings: LiveSettings | None = None) -> None:
        self.name = name
        self.fps = 0.0
        self.losses = 0
        self._open = open_capture
        self._settings = settings or LiveSettings()
        self._changed = threading.Condition()
        self._state, self._reason = "connecting", ""
        self._newest: Captured | None = None
        self._loss: Captured | None = None
        self._dropped = 0
        self._index = 0
        self._started = False  # has given a frame, even if it was lost since
        self._taking = False
        self._stopped = False
        self._listener: Callable[[Captured], None] | None = None
        self._pace = Pace()
        self._repeats = Repeats(self._settings.max_repeats)
        self._hung: list[threading.Thread] = []
        self._supervisor = keep_running(
            f"source {name}", self._supervise, ended=lambda: self._stopped, failed=self._say_lost
        )
        if not self._settings.wait:
            self._require_a_start()

    def __iter__(self) -> Iterator[Frame]:
        while not self._stopped:
            frame = self.poll()
            if frame is not None:
                yield frame

    def poll(self, after: float = 0.0, timeout: float = _POLL_SECONDS) -> Frame | None:
        """The newest frame, or the news that the source was lost; None when nothing came within ``timeout`` seconds.

        Args:
            after: a frame must have been captured at this ``time.monotonic`` or later; an older one is passed over.
            timeout: in seconds.
        """
        end = time.monotonic() + timeout
        self._taking = True
        with self._changed:
            while not self._stopped:
                captured, loss = self._newest, self._loss
                if loss is not None and (captured is None or loss.moment <= captured.moment):
                    self._loss = None
                    return self._frame(loss)
                if captured is not None:
                    self._newest = None
                    if captured.moment >= after:
                        return self._frame(captured)
                left = end - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(min(left, _POLL_SECONDS))
        return None

    def lost_frame(self) -> Frame | None:
        """A frame without an image that says why there is none; None while there are frames."""
        with self._changed:
            if self._state != "lost":
                return None
            self._loss = None
            return self._frame(news(self._reason))

    def listen(self, listener: Callable[[Captured], None] | None) -> None:
        """Have ``listener`` called with each frame as it comes, in the capturing thread, which it must not keep."""
        self._listener = listener

    def number(self, captured: Captured) -> Frame:
        """The next frame of this source."""
        with self._changed:
            return self._frame(captured)

    def error_frame(self, reason: str) -> Frame:
        """The next frame of this source, one without an image."""
        return self.number(news(reason))

    @property
    def lost_reason(self) -> str:
        """Why there are no frames now; empty while there are."""
        with self._changed:
            return self._reason if self._state == "lost" else ""

    def status(self) -> tuple[str, int]:
        """``connecting``, ``running`` or ``lost``, and the frames dropped since the start."""
        return self._state, self._dropped

    def stop(self) -> None:
        """End the iteration after the frame in hand."""
        self._stopped = True

    def close(self) -> None:
        """End the threads; one that hangs in a driver is left to itself."""
        self._stopped = True
        self._supervisor.join(2.0)

    def _frame(self, captured: Captured) -> Frame:
        name = f"{self.name}#{self._index}"
        frame = Frame(self._index, name, captured.image, captured.time, captured.error, moment=captured.moment)
        self._index += 1
        return frame

    def _require_a_start(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._state != "connecting", self._settings.open_timeout + 5.0)
            started = self._started
        if not started:
            reason = self.lost_reason or f"{self.name} does not answer; check cable, power and network."
            self.close()
            raise SourceError(reason)

    def _supervise(self) -> None:
        backoff = _FIRST_BACKOFF
        while not self._stopped:
            connection = Connection(time.monotonic())
            thread = start_thread(f"capture {self.name}", partial(self._grab, connection))
            self._watch(connection)
            if self._stopped:
                thread.join(1.0)
                return
            self._mark_lost(connection)
            self._hung = [hung for hung in [*self._hung, thread] if hung.is_alive()]
            backoff = _FIRST_BACKOFF if connection.frames else min(2 * backoff, self._settings.max_backoff)
            self._pause(min(backoff, self._settings.max_backoff))

    def _watch(self, connection: Connection) -> None:
        """Return when the connection ended, hangs, or the source was stopped."""
        with self._changed:
            while not (connection.done or self._stopped):
                limit = self._settings.read_timeout if connection.opened else self._settings.open_timeout
                if time.monotonic() - connection.progress > limit:
                    connection.reason = connection.reason or f"{self.name} gave no frame for {limit:g} s"
                    break
                self._changed.wait(_POLL_SECONDS)
            connection.abandoned = True

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopped and (time.monotonic() < end or len(self._hung) >= _MAX_HUNG):
            time.sleep(min(_POLL_SECONDS, seconds))
            self._hung = [hung for hung in self._hung if hung.is_alive()]

    def _mark_lost(self, connection: Connection) -> None:
        reason = connection.reason or f"{self.name} stopped"
        # A whole sentence has its own remedy.
        self._say_lost(reason if reason.endswith(".") else f"{reason}; check cable, power and network.")

    def _say_lost(self, reason: str) -> None:
        with self._changed:
            if self._state != "lost":
                self._state, self._reason = "lost", reason
                self.losses += 1
                self._loss = news(reason)
                _LOG.warning(reason)
            self._changed.notify_all()

    def _grab(self, connection: Connection) -> None:
        capture: Capture | None = None
        try:
            capture = self._open()
            self.fps = capture.fps
            connection.opened, connection.progress = True, time.monotonic()
            while not (connection.abandoned or self._stopped):
                self._grab_one(capture, connection)
                self._rest(getattr(capture, "interval", 0.0), connection)
        except PatchcoreEdgeError as error:
            connection.reason = str(error)
        except Exception as error:  # noqa: BLE001 - whatever a driver throws, the line waits for the camera
            connection.reason = shown(f"{self.name} failed ({type(error).__name__}: {error})")
        finally:
            if capture is not None:
                let_go(capture)
            with self._changed:
                connection.done = True
                self._changed.notify_all()

    def _grab_one(self, capture: Capture, connection: Connection) -> None:
        asked = time.monotonic()
        try:
            image, error = capture.read(), ""
        except FrameError as broken:
            image, error = None, str(broken)
        if image is not None and self._repeats.is_stuck(image, time.monotonic()):
            image, error = None, f"{self.name}: the camera repeats its picture; switch it off and on again."
        if image is not None and self._settings.rotate:
            image = turned(image, self._settings.rotate)
        with self._changed:
            if connection.abandoned:
                return
            connection.progress = time.monotonic()
            connection.frames += 1
            # Nobody can take frames before the line has started.
            self._dropped += self._newest is not None and self._taking
            if self._state == "lost":
                _LOG.warning("%s is back.", self.name)
            self._state, self._started = "running", True
            since = self._pace.since(asked, connection.progress)
            self._newest = captured = Captured(image, error, time.time(), connection.progress, since)
            self._changed.notify_all()
            if self._listener is not None:
                self._listener(captured)

    def _rest(self, seconds: float, connection: Connection) -> None:
        """Wait with the next question to the camera; that is no silence of its own."""
        if seconds <= 0:
            return
        with self._changed:
            end = connection.progress + seconds
            connection.progress = end
        while not (connection.abandoned or self._stopped) and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _POLL_SECONDS))
