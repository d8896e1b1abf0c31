"""Clients that open connections and ask nothing, never finish asking, or never read: the line and its health go on."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from line_records import make_record, wait_for

pytest.importorskip("uvicorn", reason="needs the package uvicorn")
pytest.importorskip("starlette", reason="needs the package starlette")

from patchcore_edge_runtime.monitoring.status import LineStatus
from patchcore_edge_runtime.sinks import HttpSink, SinkContext
from patchcore_edge_runtime.sinks.http.connections import Places, places_for
from patchcore_edge_runtime.sinks.http.settings import HttpSettings

TESTS = Path(__file__).resolve().parents[1]
CONNECTIONS = "patchcore_edge_runtime.sinks.http.connections"


@contextmanager
def server(**keys: object) -> Iterator[HttpSink]:
    sink = HttpSink(HttpSettings(port=0, **keys), SinkContext(LineStatus("line 3")))
    try:
        yield sink
    finally:
        sink.close()


def connect(stack: ExitStack, port: int, text: str = "", receive: int | None = None) -> socket.socket:
    client = stack.enter_context(socket.socket())
    if receive is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    client.settimeout(20)
    client.connect(("127.0.0.1", port))
    client.sendall(text.encode())
    return client


def ask(port: int, path: str) -> int:
    """The status of the answer; read to its end."""
    with ExitStack() as stack:
        client = connect(stack, port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    return int(answer.split()[1])


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("text", ["", "GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "])
def test_connections_that_ask_nothing_keep_nobody_out(text: str, caplog: pytest.LogCaptureFixture) -> None:
    with server() as sink, ExitStack() as stack:
        idle = [connect(stack, sink.port, text) for _ in range(250)]
        for path in ("/healthz", "/status", "/metrics"):
            assert ask(sink.port, path) == 200
        assert is_closed(idle[0]), "the oldest had to go"
    assert "were closed so far to make room" in caplog.text
    assert len([one for one in caplog.records if "to make room" in one.message]) == 1, "one line a minute"


def test_a_header_that_takes_too_long_ends_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{CONNECTIONS}._HEADER_SECONDS", 0.3)
    with server() as sink, ExitStack() as stack:
        slow, silent = connect(stack, sink.port, "GET /status HTTP/1.1\r\n"), connect(stack, sink.port)
        ended = threading.Event()

        def trickle() -> None:
            try:
                while True:
                    slow.sendall(b"X")
                    time.sleep(0.02)
            except OSError:
                ended.set()

        threading.Thread(target=trickle, daemon=True).start()
        assert is_closed(silent)
        assert ended.wait(20), "a byte now and then is no request"


def test_a_connection_is_given_up_when_it_asks_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{CONNECTIONS}._HEADER_SECONDS", 0.3)
    with server() as sink, ExitStack() as stack:
        client = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", sink.port, timeout=20)))
        for _ in range(2):
            client.request("GET", "/healthz")
            assert json.loads(client.getresponse().read())["healthy"]
        # The beginning of a third one.
        plain = stack.enter_context(client.sock)
        plain.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert is_closed(plain)


def test_nonsense_is_answered_and_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    with server() as sink, ExitStack() as stack:
        for _ in range(5):
            assert connect(stack, sink.port, "\r\nnonsense\r\n\r\n").recv(12) == b"HTTP/1.1 400"
        # Behind a request that is whole, and is being answered.
        for behind in ("5\r\nhelloXX0\r\n\r\n", "ffffffffffffffffffffff\r\nhello", "x"):
            post = "POST /trigger HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            connect(stack, sink.port, f"{post}{behind}")
        get = "GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        connect(stack, sink.port, f"{get}nonsense\r\n\r\n")
        assert ask(sink.port, "/metrics") == 200
    assert not caplog.records


LIVE = "GET /live.mjpg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def status_of(client: socket.socket) -> int:
    return int(client.recv(12).split()[1])


def test_viewers_that_never_read_leave_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{CONNECTIONS}._STALL_SECONDS", 0.3)
    with server(viewers=2, live_fps=200, live_width=2000) as sink, ExitStack() as stack:
        for _ in range(2):
            assert status_of(connect(stack, sink.port, LIVE, receive=4096)) == 200
        assert status_of(connect(stack, sink.port, LIVE)) == 503
        number = 0

        def has_place() -> bool:
            nonlocal number
            number += 1
            sink.write(make_record(index=number, size=(1600, 1200)))
            with ExitStack() as once:
                return status_of(connect(once, sink.port, LIVE)) == 200

        wait_for(has_place)


def test_no_more_viewers_than_allowed_though_they_come_at_the_same_moment() -> None:
    with server(viewers=8) as sink, ExitStack() as stack:
        clients = [connect(stack, sink.port) for _ in range(30)]
        for client in clients:
            client.sendall(LIVE.encode())
        assert sorted(status_of(client) for client in clients) == [200] * 8 + [503] * 22
        for client in clients:
            client.close()
        # Their places are free again.
        wait_for(lambda: _is_viewed(sink.port))


def _is_viewed(port: int) -> bool:
    with ExitStack() as stack:
        return status_of(connect(stack, port, LIVE)) == 200


EXHAUSTED = """
import json, os, resource, socket, sys, time
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))
sys.path.insert(0, sys.argv[2])
from line_records import make_record
from patchcore_edge_runtime.sinks import SinkContext, open_sinks
from patchcore_edge_runtime.sinks.registry import read_table
tables = {
    "http": read_table("http", {"port": int(sys.argv[3])}),
    "jsonl": read_table("jsonl", {"path": "r.jsonl", "max_mb": 0.005, "keep": 500}),
}
context = SinkContext(folder=Path(sys.argv[1]), live=False)
group = open_sinks(tables, context)
print("open", flush=True)
most, number = 0, 0
for line in sys.stdin:
    for _ in range(40):
        group.write(make_record(index=number, size=(64, 48)))
        number += 1
        most = max(most, len(os.listdir("/proc/self/fd")))
        time.sleep(0.002)
    print(most, flush=True)
group.close()
print(json.dumps(context.status.snapshot().to_dict()["sinks"]["jsonl"]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc and limit on descriptors")
def test_idle_connections_leave_the_line_its_descriptors(tmp_path: Path) -> None:
    from line_records import free_port

    port = free_port()
    command = [sys.executable, "-c", EXHAUSTED, str(tmp_path), str(TESTS), str(port)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(command, **pipes) as line, ExitStack() as stack:
        assert line.stdout.readline() == "open\n"
        clients = []

        def storm() -> None:
            for _ in range(400):
                try:
                    clients.append(connect(stack, port))
                except OSError:
                    continue

        storming = threading.Thread(target=storm)
        storming.start()
        for _ in range(5):
            line.stdin.write("more\n")
            assert int(line.stdout.readline()) < 85, "of 96"
        storming.join()
        assert ask(port, "/healthz") == 200
        out, _ = line.communicate(timeout=60)
    counts = json.loads(out.splitlines()[-1])
    assert (counts["written"], counts["failed"], counts["dropped"]) == (200, 0, 0)
    files = [file for file in tmp_path.iterdir() if file.name.startswith("r.jsonl")]
    assert len(files) > 5
    found = [json.loads(text)["frame"] for file in files for text in file.read_text().splitlines()]
    assert sorted(found) == list(range(200))


class Guest:
    def __init__(self, host: str, is_answered: bool = False) -> None:
        self.host, self.is_answered, self.ended = host, is_answered, False

    def end(self) -> None:
        self.ended = True


def test_the_address_with_the_most_connections_gives_way_first() -> None:
    places = Places(6, 5)
    flood, quiet = [Guest("flood") for _ in range(5)], Guest("quiet")
    for guest in (quiet, *flood, new := Guest("new")):
        places.enter(guest)
    assert [guest.ended for guest in (quiet, *flood, new)] == [False, True, False, False, False, False, False]


def test_who_is_being_answered_is_never_sent_away() -> None:
    places = Places(4, 3)
    busy = [Guest("one", is_answered=True) for _ in range(3)]
    for guest in (*busy, more := Guest("one")):
        places.enter(guest)
    assert [guest.ended for guest in (*busy, more)] == [False, False, False, True]
    for guest in (other := Guest("two", is_answered=True), late := Guest("three")):
        places.enter(guest)
    assert (other.ended, late.ended) == (False, True)
    places.leave(busy[0])
    places.enter(again := Guest("three"))
    assert not again.ended


@pytest.mark.parametrize(("limit", "total"), [(None, 96), (1024, 96), (256, 64), (96, 24), (20, 8)])
def test_the_web_server_takes_a_quarter_of_the_descriptors_at_most(limit: int | None, total: int) -> None:
    places = places_for(limit)
    assert places.total == total
    assert 0 < places.of_one < total
