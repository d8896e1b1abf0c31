"""A line as a service: started by a manager that waits for READY, triggered over HTTP, stopped by SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from line_records import free_port, wait_for

pytest.importorskip("uvicorn", reason="needs the package uvicorn")

LINE = """
name = "line 3"
bundle = '{bundle}'

[source]
uri = '{images}'

[trigger]
mode = "software"

[sinks.http]
port = {port}

[sinks.jsonl]
path = "results.jsonl"

[sinks.archive]
folder = "archive"
"""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.settimeout(60)
    yield listener
    listener.close()


def _ask(port: int, path: str, method: str = "GET") -> tuple[int, dict]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither systemd nor SIGTERM")
def test_a_triggered_line_from_ready_to_sigterm(
    tiny_bundle: Path, tiny_data: Path, tmp_path: Path, manager: socket.socket
) -> None:
    port = free_port()
    images = tiny_data / "test" / "scratch"
    (tmp_path / "line.toml").write_text(LINE.format(bundle=tiny_bundle, images=images, port=port))
    words = [sys.executable, "-m", "patchcore_edge_runtime", "run", "-c", str(tmp_path / "line.toml"), "--json"]
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}
    line = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert manager.recv(4096).startswith(b"READY=1\n")
        status, health = _ask(port, "/healthz")
        assert (status, health["state"], health["problem"]) == (200, "healthy", "")
        answers = [_ask(port, f"/trigger?part={part}", "POST") for part in range(3)]
        assert [(status, answer["part"], answer["verdict"]) for status, answer in answers] == [
            (200, str(part), "NG") for part in range(3)
        ]
        # Nobody triggers now, and the watchdog is fed all the same.
        wait_for(lambda: b"WATCHDOG=1" in manager.recv(4096))
        line.send_signal(signal.SIGTERM)
        printed, _ = line.communicate(timeout=60)
    finally:
        line.kill()
        line.wait()
    assert line.returncode == 0
    summary = json.loads(printed)
    assert summary["verdicts"]["NG"] == 3
    assert {name: counts["written"] for name, counts in summary["sinks"].items()} == dict.fromkeys(
        ("http", "jsonl", "archive"), 3
    )
    rows = [json.loads(row) for row in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [row["part"] for row in rows] == ["0", "1", "2"]
    assert rows == [answer for _, answer in answers]
    assert len(list((tmp_path / "archive").rglob("*.json"))) == 3
    heard = b""
    while b"STOPPING=1" not in heard:
        heard = manager.recv(4096)
