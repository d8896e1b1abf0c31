from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from line_records import make_frame, wait_for

from patchcore_edge_runtime.line.watchdog import Notifier, WatchdogSource, watched
from patchcore_edge_runtime.sources import Frame
from patchcore_edge_runtime.sources.base import Stoppable

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs unix sockets, as systemd does")


class Frames(Stoppable):
    live = True

    def __init__(self, state: str = "running") -> None:
        self.state = state

    def __iter__(self) -> Iterator[Frame]:
        for index in range(3):
            yield Frame(index, "camera", make_frame(64, 48), 0.0)

    def status(self) -> tuple[str, int]:
        return self.state, 0


class Manager:
    """The receiving end of systemd's socket."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + path[1:] if path.startswith("@") else path)
        self.socket.settimeout(10)
        self.environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "60000", "WATCHDOG_PID": str(os.getpid())}

    def next(self) -> list[str]:
        return self.socket.recv(4096).decode().split("\n")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


@needs_unix
def test_systemd_hears_of_the_start_of_progress_and_of_the_end(manager: Manager) -> None:
    source = WatchdogSource(Frames(), Notifier(manager.environment), free_running=True)
    frames = iter(source)
    next(frames)
    assert manager.next() == ["READY=1", "STATUS=Waiting for the first frame."]
    assert manager.next() == ["STATUS=1 frames, source running.", "WATCHDOG=1"]
    assert [frame.index for frame in frames] == [1, 2]
    source.close()
    heard = manager.next()
    while heard[0] != "STOPPING=1":
        heard = manager.next()
    assert heard == ["STOPPING=1", "STATUS=Stopped after 3 frames."]


@needs_unix
def test_a_frame_that_never_ends_starves_the_watchdog(manager: Manager) -> None:
    source = WatchdogSource(Frames(), Notifier(manager.environment), free_running=True)
    frames = iter(source)
    next(frames)
    wait_for(lambda: not source.is_alive())
    manager.socket.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            manager.next()
    manager.socket.settimeout(10)
    assert manager.next() == ["STATUS=1 frames, source running."]
    source.close()


@pytest.mark.parametrize(
    ("free_running", "state", "alive"),
    [(True, "running", False), (True, "lost", True), (True, "connecting", True), (False, "running", True)],
)
def test_silence_needs_a_reason(free_running: bool, state: str, alive: bool) -> None:
    now = [0.0]
    environment = {"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "5000000"}
    source = WatchdogSource(Frames(state), Notifier(environment), free_running, clock=lambda: now[0])
    assert source.is_alive()
    now[0] = 6.0
    assert source.is_alive() is alive


@pytest.mark.skipif(os.name != "posix" or not Path("/proc").exists(), reason="needs Linux's abstract sockets")
def test_an_abstract_socket_is_found(tmp_path: Path) -> None:
    manager = Manager(f"@patchcore-{os.getpid()}")
    Notifier(manager.environment).send("READY=1")
    assert manager.next() == ["READY=1"]
    manager.socket.close()


def test_without_systemd_nothing_is_wrapped_and_a_dead_manager_stops_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    source = Frames()
    with watched(source, free_running=True) as frames:
        assert frames is source
    Notifier({"NOTIFY_SOCKET": "/nowhere/at/all"}).send("READY=1")


def test_a_watchdog_meant_for_another_process_is_left_alone() -> None:
    assert Notifier({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}).watchdog_seconds == 0
