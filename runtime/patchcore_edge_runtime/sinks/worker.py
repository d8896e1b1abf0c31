"""Sinks behind queues: however slow or dead one is, the verdicts and the other sinks go on."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from ..database import PlaceBusyError
from ..display.record import Record
from ..errors import PatchcoreEdgeError
from ..monitoring.status import LineStatus, SinkFigures
from ..monitoring.trouble import Trouble
from ..shown import shown
from ..system import lower_thread_priority
from ..threads import keep_running
from .base import Sink, SinkSettings

__all__ = ["SinkGroup", "SinkWorker"]

_LOG = logging.getLogger(__name__)
# Waiting pixels of one sink; eleven frames at 1080p, and never less than one frame.
_MAX_WAITING_BYTES = 64 << 20
_CLOSE_SECONDS = 10.0
# For what a sink does at its end, as the index that makes a video playable, when its queue was given up.
_END_SECONDS = 5.0
# One line a minute per sink in the log, however often it refuses.
_LOG_SECONDS = 60.0
# A busy place is asked again after a pause. A source that waits for its sinks may be held up for this long by one.
_BUSY_PAUSE_SECONDS = 0.2
_BUSY_SECONDS = 60.0


class SinkWorker:
    """One sink, one thread, one bounded queue.

    Args:
        name: what the sink is called in the log and in the counters.
        sink: only ever used from the worker's thread.
        settings: which verdicts it takes and how many records may wait.
        pictures: whether it needs pixels.
        wait: let ``write`` wait for room in the queue instead of dropping; for sources that can wait.
        close_seconds: how long ``close`` waits for the queue to drain.
        status: of the line, which counts this sink's records under ``name``; one of its own when absent.
        on_closed: called when the sink has been closed, by the worker's thread.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        settings: SinkSettings | None = None,
        *,
        pictures: bool = True,
        wait: bool = False,
        close_seconds: float = _CLOSE_SECONDS,
        status: LineStatus | None = None,
        on_closed: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._on_closed = on_closed
        self._status = status or LineStatus()
        self._sink = sink
        self._settings = settings or SinkSettings()
        self._pictures = pictures
        self._wait = wait
        self._close_seconds = close_seconds
        self._queue: deque[Record] = deque()
        self._bytes = 0
        self._refusal, self._slowness = Trouble(), Trouble()
        self._logged = -_LOG_SECONDS
        self._closing = False
        self._in_hand = 0
        self._busy_since: float | None = None
        self._changed = threading.Condition()
        self._status.add_sink(name, self._condition, required=self._settings.required)
        self._thread = keep_running(f"sink-{name}", self._run, ended=lambda: self._closing, failed=self._lose_in_hand)

    def counts(self) -> SinkFigures:
        """What the line's status says of this sink at this moment."""
        return self._status.sink(self.name)

    def _condition(self) -> tuple[int, str, str]:
        """As ``SinkCondition`` says, with what the sink itself still has to deliver."""
        pending, own = getattr(self._sink, "pending", 0), getattr(self._sink, "trouble", Trouble())
        states = [trouble.state for trouble in (self._refusal, own, self._slowness) if trouble.text]
        text = states[0][0] if states else ""
        with self._changed:
            return len(self._queue) + pending, text, min((since for _, since in states), default="")

    def write(self, record: Record) -> None:
        """Queue a record; returns at once unless ``wait`` was asked for."""
        if record.result.verdict not in self._settings.verdicts:
            return
        record = record if self._pictures else record.without_image
        with self._changed:
            if self._wait:
                self._changed.wait_for(lambda: self._has_room(record) or self._closing)
            if self._closing or not self._has_room(record):
                dropped = self._status.count_record(self.name, "dropped")
                slow = f"is too slow; {dropped} records were dropped so far"
                self._slowness.say(f"It {slow}.")
                self._log(slow)
                return
            self._queue.append(record)
            self._bytes += _size(record)
            self._changed.notify_all()

    def finish(self) -> None:
        """Take no more records; the queue is drained and the sink closed in the worker's own time."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def close(self, seconds: float | None = None) -> None:
        """Finish, and wait; what is still waiting after ``seconds`` (or ``close_seconds``) counts as dropped."""
        self.finish()
        self._thread.join(self._close_seconds if seconds is None else seconds)
        with self._changed:
            # The one in hand is lost to this count even if the sink comes back: each record counts once.
            left = len(self._queue) + self._in_hand
            self._queue.clear()
            self._in_hand = 0
            self._changed.notify_all()
            self._status.count_record(self.name, "dropped", left)
        if self._thread.is_alive():
            seconds = self._close_seconds
            _LOG.warning("sink %s did not finish within %g s; %d records were dropped.", self.name, seconds, left)

    def wait_closed(self, seconds: float) -> None:
        """Wait for the sink itself to be closed, after ``close``: what it has written may need its end to be read."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            _LOG.warning("sink %s could not be closed; what it wrote last may be incomplete.", self.name)

    def _has_room(self, record: Record) -> bool:
        if not self._queue:
            return True
        return len(self._queue) < self._settings.queue and self._bytes + _size(record) <= _MAX_WAITING_BYTES

    def _run(self) -> None:
        if self._pictures:
            # Drawing and encoding take every core they get, and the next verdict needs one.
            lower_thread_priority()
        while (record := self._next()) is not None:
            self._store(record)
        try:
            self._sink.close()
        except Exception as error:  # noqa: BLE001 - whatever a sink throws, the line goes on
            self._refusal.say(_text(error))
            _LOG.warning("sink %s did not close: %s", self.name, _text(error))
        finally:
            self._on_closed()

    def _next(self) -> Record | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            if not self._queue:
                return None
            record = self._queue.popleft()
            self._bytes -= _size(record)
            self._in_hand = 1
            self._changed.notify_all()
            return record

    def _store(self, record: Record) -> None:
        while True:
            try:
                self._sink.write(record)
                break
            except PlaceBusyError as error:
                if not self._waits_for(error):
                    return
            except Exception as error:  # noqa: BLE001 - whatever a sink throws, the line goes on
                self._fail(error)
                return
        with self._changed:
            self._busy_since = None
            if not self._leave_hand():
                return
            self._status.count_record(self.name, "written")
            if not self._queue:
                self._slowness.clear()
            if self._refusal.text:
                _LOG.warning("sink %s works again.", self.name)
                self._refusal.clear()

    def _waits_for(self, error: PlaceBusyError) -> bool:
        """Whether the record in hand is to be tried again; a pause has passed then, while others queue behind it."""
        with self._changed:
            now = time.monotonic()
            self._busy_since = self._busy_since or now
            if not self._wait or now - self._busy_since < _BUSY_SECONDS:
                self._refusal.say(_text(error))
                self._log(f"waits: {self._refusal.text}")
                return not self._changed.wait_for(lambda: not self._in_hand, _BUSY_PAUSE_SECONDS)
        self._fail(error)
        return False

    def _fail(self, error: Exception) -> None:
        with self._changed:
            if not self._leave_hand():
                return
            failed = self._status.count_record(self.name, "failed")
            self._refusal.say(_text(error))
            self._log(f"refused {failed} records so far: {self._refusal.text}")

    def _lose_in_hand(self, reason: str) -> None:
        """The thread failed outside of the sink; the record that it had is lost, and is counted."""
        with self._changed:
            self._refusal.say(reason)
            if self._leave_hand():
                self._status.count_record(self.name, "failed")

    def _leave_hand(self) -> bool:
        """The record is done with; False when ``close`` gave it up meanwhile, and has counted it."""
        held, self._in_hand = self._in_hand, 0
        return bool(held)

    def _log(self, text: str) -> None:
        now = time.monotonic()
        if now - self._logged >= _LOG_SECONDS:
            self._logged = now
            _LOG.warning("sink %s %s", self.name, text)


class SinkGroup:
    """Hands each record to every sink, and closes them together."""

    def __init__(self, workers: Mapping[str, SinkWorker]) -> None:
        self._workers = dict(workers)

    def write(self, record: Record) -> None:
        """Queue one record."""
        for worker in self._workers.values():
            worker.write(record)

    def close(self) -> None:
        """Close all sinks at the same time: ten dead ones take no longer than one."""
        for worker in self._workers.values():
            worker.finish()
        self._in_turn(_CLOSE_SECONDS, lambda worker, seconds: worker.close(seconds))
        self._in_turn(_END_SECONDS, lambda worker, seconds: worker.wait_closed(seconds))

    def _in_turn(self, seconds: float, wait: Callable[[SinkWorker, float], None]) -> None:
        """Wait for each, and for all together no longer than that."""
        deadline = time.monotonic() + seconds
        for worker in self._workers.values():
            wait(worker, max(0.0, deadline - time.monotonic()))


def _size(record: Record) -> int:
    frame, model_map = record.frame.image, record.result.model_map
    # Twice the frame: the overlay will be drawn on a copy.
    return (0 if frame is None else 2 * frame.nbytes) + (0 if model_map is None else model_map.nbytes)


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, PatchcoreEdgeError) else shown(f"{type(error).__name__}: {error}")
