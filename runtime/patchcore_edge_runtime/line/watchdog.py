"""systemd is told that the line is ready and that frames go on; silent everywhere else.

The guarded place for systemd's protocol (sd_notify(3)): datagrams of ``KEY=value`` lines to a unix socket.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from ..sources import Frame, Source
from ..sources.base import SourceAround
from ..threads import keep_running
from .heartbeat import HEARTBEAT_SECONDS, PROBLEM, beat, heartbeat_file

__all__ = ["Notifier", "SharedNotifier", "WatchdogSource", "watched"]


_STATUS = "STATUS="


class Notifier:
    """Sends to the service manager.

    Args:
        environment: with ``NOTIFY_SOCKET``, and ``WATCHDOG_USEC`` where a watchdog is wanted; with
            ``PATCHCORE_EDGE_HEARTBEAT``, where a health check looks for a sign of life.

    Attributes:
        watchdog_seconds: silence after which the manager ends this process; 0 when it does not watch.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "") if hasattr(socket, "AF_UNIX") else ""
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environment.get("WATCHDOG_USEC", "")
        self._heartbeat = heartbeat_file(environment)
        self.watchdog_seconds = int(microseconds) / 1e6 if mine and microseconds.isdecimal() else 0.0
        if not self.watchdog_seconds and self._heartbeat is not None:
            self.watchdog_seconds = HEARTBEAT_SECONDS

    def __bool__(self) -> bool:
        """Whether anybody listens."""
        return bool(self._address) or self._heartbeat is not None

    def send(self, *lines: str) -> None:
        """Send lines such as ``READY=1``; a manager that does not listen is no reason to stop a line."""
        if self._heartbeat is not None:
            beat(self._heartbeat, lines)
        if not self._address:
            return
        # A leading @ stands for Linux's abstract namespace, whose names begin with a zero.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            channel.sendto("\n".join(lines).encode(), address)


class SharedNotifier:
    """One way to the manager for several lines: it hears of a start, of life and of an end when all of them say so.

    A line that stops feeding starves the watchdog of all: it is stuck in this process, and a new one is its only
    remedy. One that has come to its end is not waited for.

    Args:
        notifier: the way to the manager.
        names: of the lines.
    """

    def __init__(self, notifier: Notifier, names: Sequence[str]) -> None:
        self._notifier = notifier
        self._starting, self._running, self._fed = set(names), set(names), set[str]()
        self._status = dict.fromkeys(names, "starting.")
        self._problems: dict[str, str] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> Notifier:
        """The line's own way, which leads here."""
        return _Share(self, name, self._notifier)

    def hear(self, name: str, lines: Sequence[str]) -> None:
        """What a line would have told the manager."""
        with self._lock:
            self._send(name, lines)

    def _send(self, name: str, lines: Sequence[str]) -> None:
        words: list[str] = []
        texts = [line.removeprefix(_STATUS) for line in lines if line.startswith(_STATUS)]
        self._status[name] = (texts or [self._status[name]])[-1]
        problems = [line.removeprefix(PROBLEM) for line in lines if line.startswith(PROBLEM)]
        self._problems[name] = " ".join(f"{name}: {problem}" for problem in problems)
        if "READY=1" in lines:
            self._running.add(name)
            if self._starting == {name}:
                words.append("READY=1")
            self._starting.discard(name)
        if "STOPPING=1" in lines:
            self._running.discard(name)
            words += [] if self._running else ["STOPPING=1"]
        if "WATCHDOG=1" in lines:
            self._fed.add(name)
        if self._running <= self._fed and self._running:
            self._fed.clear()
            words.append("WATCHDOG=1")
        told = " ".join(f"{name}: {text}" for name, text in self._status.items())
        wrong = " ".join(filter(None, self._problems.values()))
        self._notifier.send(*words, f"{_STATUS}{told}", *([f"{PROBLEM}{wrong}"] if wrong else []))


class _Share(Notifier):
    def __init__(self, shared: SharedNotifier, name: str, notifier: Notifier) -> None:
        self._shared, self._name = shared, name
        self._address, self._heartbeat = notifier._address, notifier._heartbeat
        self.watchdog_seconds = notifier.watchdog_seconds

    def send(self, *lines: str) -> None:
        """Tell the others' too."""
        self._shared.hear(self._name, lines)


class WatchdogSource(SourceAround):
    """A source whose progress feeds the watchdog.

    The watchdog is fed while frames go on, and while there is a reason for none: a source that says itself that it is
    not running, or one that waits for a trigger or a file. It is starved when one frame takes longer than the
    watchdog waits, and when a free-running source claims to run and gives nothing.

    Args:
        source: what gives the frames.
        notifier: the way to the manager.
        free_running: a frame is due at any moment while the source runs.
        clock: seconds that never go back.
        problem: why the line is not healthy although it lives; empty while it is.
    """

    def __init__(
        self,
        source: Source,
        notifier: Notifier,
        free_running: bool,
        clock: Callable[[], float] = time.monotonic,
        problem: Callable[[], str] = lambda: "",
    ) -> None:
        super().__init__(source)
        self._notifier, self._free_running, self._clock = notifier, free_running, clock
        self._frames, self._busy, self._since = 0, False, clock()
        self._problem = problem
        self._end = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        self._mark(busy=False)
        self._notifier.send("READY=1", "STATUS=Waiting for the first frame.")
        keep_running("watchdog", self._feed, ended=self._end.is_set)
        for frame in self._source:
            self._mark(busy=True)
            self._frames += 1
            # The loop comes back when it has judged the frame and handed it on.
            yield frame
            self._mark(busy=False)

    def finish(self) -> None:
        """Tell the manager that the line stops; sinks that are still flushed have its own time to stop in."""
        if not self._end.is_set():
            self._end.set()
            self._notifier.send("STOPPING=1", f"STATUS=Stopped after {self._frames} frames.")

    def close(self) -> None:
        """Finish, and close the source."""
        self.finish()
        super().close()

    def is_alive(self) -> bool:
        """Whether the line does what it should, or has a reason not to."""
        if self._clock() - self._since < (self._notifier.watchdog_seconds or float("inf")):
            return True
        return not self._busy and not (self._free_running and self._source.status()[0] == "running")

    def _mark(self, *, busy: bool) -> None:
        self._busy, self._since = busy, self._clock()

    def _feed(self) -> None:
        # Thrice as often as needed; once a second without a watchdog, for the status only.
        pause = self._notifier.watchdog_seconds / 3 or 1.0
        while not self._end.wait(pause):
            lines = [f"STATUS={self._frames} frames, source {self._source.status()[0]}."]
            if problem := self._problem():
                lines.append(f"{PROBLEM}{problem}")
            if self._notifier.watchdog_seconds and self.is_alive():
                lines.append("WATCHDOG=1")
            self._notifier.send(*lines)


@contextmanager
def watched(
    source: Source,
    free_running: bool,
    notifier: Notifier | None = None,
    problem: Callable[[], str] = lambda: "",
) -> Iterator[Source]:
    """The source itself, or where systemd wants to be told, one that tells it until the end of the block."""
    notifier = notifier or Notifier(os.environ)
    if not notifier:
        yield source
        return
    telling = WatchdogSource(source, notifier, free_running, problem=problem)
    try:
        yield telling
    finally:
        telling.finish()
