"""``health``: what Docker asks. The line's web server answers, or where there is none a file that the line touches."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY, run_cli
from line_records import free_port, make_frame, wait_for

from patchcore_edge_runtime.atomic_folder import replace_text
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.line.heartbeat import HEARTBEAT_SECONDS, HEARTBEAT_VARIABLE, PROBLEM, beat
from patchcore_edge_runtime.line.watchdog import Notifier, WatchdogSource, watched
from patchcore_edge_runtime.monitoring.status import LineStatus
from patchcore_edge_runtime.sinks import HttpSink, SinkContext
from patchcore_edge_runtime.sinks.http.settings import HttpSettings
from patchcore_edge_runtime.sources import IterableSource


def line_file(folder: Path, sinks: str = "") -> Path:
    path = folder / "line.toml"
    path.write_text(f"name = 'line 3'\nbundle = 'bundle'\n[source]\nuri = '0'\n{sinks}")
    return path


def ask(config: Path) -> subprocess.CompletedProcess[str]:
    return run_cli("health", "-c", config, program="patchcore_edge_runtime")


@pytest.fixture
def sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "heartbeat"
    monkeypatch.setenv(HEARTBEAT_VARIABLE, str(file))
    return file


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_web_server_is_asked_at_the_port_that_the_file_says(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra [http]")
    monkeypatch.setenv("HTTP_TOKEN", "a token of sixteen")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # a PC's proxy does not know of the line
    port = free_port()
    state = ["running"]
    context = SinkContext(LineStatus(source=lambda: (state[0], 0)))
    server = HttpSink(HttpSettings(port=port, host=host, token_env="HTTP_TOKEN"), context)
    config = line_file(tmp_path, f"[sinks.http]\nport = {port}\nhost = '{host}'\ntoken_env = 'HTTP_TOKEN'\n")
    try:
        assert ask(config).returncode == 0
        state[0] = "lost"
        sick = ask(config)
        assert sick.returncode == 3
        assert "line 3 is not healthy" in sick.stderr
        assert "lost" in sick.stderr
    finally:
        server.close()
    gone = ask(config)
    assert gone.returncode == 3
    assert f"port {port}, does not answer" in gone.stderr


def test_without_a_web_server_the_sign_of_life_counts(sign: Path, tmp_path: Path) -> None:
    config = line_file(tmp_path)
    early = ask(config)
    assert early.returncode == 3
    assert "not ready yet" in early.stderr
    with watched(IterableSource([make_frame(64, 48)] * 2), free_running=True) as frames:
        for _ in frames:
            assert ask(config).returncode == 0
            old = time.time() - HEARTBEAT_SECONDS - 5
            os.utime(sign, (old, old))
            stale = ask(config)
            assert stale.returncode == 3
            assert "65 s old" in stale.stderr
            sign.touch()
    assert ask(config).returncode == 3, "a line that has ended gives no sign"


def test_a_line_that_lives_and_whose_verdicts_do_not_arrive_is_not_healthy(sign: Path, tmp_path: Path) -> None:
    config = line_file(tmp_path)
    notifier = Notifier(os.environ)
    notifier.watchdog_seconds = 0.03
    problem = ["The required sink plc fails since 2026-01-02T03:04:05+00:00."]
    source = IterableSource([make_frame(64, 48)])
    # By a clock that stands still the line is alive all the while.
    line = WatchdogSource(source, notifier, True, clock=lambda: 0.0, problem=lambda: problem[0])
    for _ in line:
        wait_for(lambda: "plc" in sign.read_text(encoding="utf-8"))
        sick = ask(config)
        assert sick.returncode == 3
        assert "line 3 is not healthy: The required sink plc fails since" in sick.stderr
        problem[0] = ""
        wait_for(lambda: not sign.read_text(encoding="utf-8"))
        assert ask(config).returncode == 0
    line.close()


@pytest.mark.skipif(sys.platform == "win32", reason="there an open file cannot be replaced")
def test_who_asks_while_the_sign_is_given_reads_a_whole_one(sign: Path) -> None:
    beat(sign, ["WATCHDOG=1", f"{PROBLEM}The disk is full."])
    with sign.open(encoding="utf-8") as reader:
        beat(sign, ["WATCHDOG=1", f"{PROBLEM}The broker is away."])
        assert reader.read() == "The disk is full."
    assert sign.read_text(encoding="utf-8") == "The broker is away."
    assert list(sign.parent.iterdir()) == [sign]


@pytest.mark.parametrize("content", [b'bundle = "b"\n', bytes(100_000), None])
def test_what_is_no_sign_of_life_is_not_written_over_nor_taken_away(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a line's own settings, or of ``/dev/null``, nothing was left."""
    place = tmp_path / "line.toml"
    if content is None:
        place.mkdir()
    else:
        place.write_bytes(content)
    monkeypatch.setenv(HEARTBEAT_VARIABLE, str(place))
    with pytest.raises(ConfigError, match="is something else"):
        Notifier(os.environ)
    assert content is None or place.read_bytes() == content


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders")
def test_a_text_for_a_pipe_or_a_device_goes_into_it_and_does_not_take_its_place(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    replace_text(pipe, "report")
    assert os.read(reader, 100) == b"report"
    os.close(reader)
    assert pipe.is_fifo()
    with pytest.raises(OSError, match="s a directory"):
        replace_text(tmp_path, "report")


def test_a_place_where_nothing_can_be_written_stops_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HEARTBEAT_VARIABLE, str(tmp_path / "missing" / "heartbeat"))
    with watched(IterableSource([make_frame(64, 48)]), free_running=True) as frames:
        assert len(list(frames)) == 1


def test_who_has_neither_is_told_what_to_add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HEARTBEAT_VARIABLE, raising=False)
    done = ask(line_file(tmp_path))
    assert done.returncode == 2
    assert HEARTBEAT_VARIABLE in done.stderr


def test_a_line_that_runs_gives_signs_of_life(sign: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    config = tmp_path / "line.toml"
    config.write_text(f"bundle = '{tiny_bundle}'\n[source]\nuri = 'watch:incoming'\n")
    (tmp_path / "incoming").mkdir()
    words = [sys.executable, "-m", "patchcore_edge_runtime", "run", "-c", str(config)]
    line = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(sign.exists, 60)
        assert ask(config).returncode == 0
    finally:
        line.terminate()
        line.wait(30)
    assert not sign.exists()


def dockerfile() -> str:
    return (REPOSITORY / "samples" / "deploy" / "Dockerfile").read_text(encoding="utf-8")


def test_the_image_asks_by_this_command_and_gives_the_line_a_file_for_its_sign() -> None:
    text = dockerfile()
    (asked,) = re.findall(r"HEALTHCHECK .*\\\n\s+CMD (.*)", text)
    (started,) = re.findall(r"^CMD (.*)", text, flags=re.MULTILINE)
    assert '"health", "-c", "/line/line.toml"' in asked
    assert '"run", "-c", "/line/line.toml"' in started
    assert f"ENV {HEARTBEAT_VARIABLE}=/" in text


def test_the_image_for_an_intel_gpu_has_opencls_loader_and_intels_driver_and_is_no_default() -> None:
    stages = re.findall(r"^FROM \S+ AS (\w+)\n(.*?)(?=^FROM|\Z)", dockerfile(), flags=re.MULTILINE | re.DOTALL)
    named = dict(stages)
    assert {"ocl-icd-libopencl1", "intel-opencl-icd"} <= set(named["gpu"].split())
    assert stages[-1][0] == "cpu"
    assert all("USER patchcore-edge" in named[stage] for stage in ("gpu", "cpu"))


def test_nothing_but_the_runtime_gets_into_the_image() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").split("\n")
    kept = [line for line in lines if line.startswith("!")]
    assert "*" in lines
    assert kept == ["!runtime"]
    copied = re.findall(r"^COPY (?!--from)(\S+)", dockerfile(), flags=re.MULTILINE)
    assert copied == ["runtime"]
