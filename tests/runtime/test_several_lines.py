"""Several lines of one file in one process: what they share, and that none disturbs another."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from browser import browse
from conftest import good_part, run_cli
from line_records import free_port, make_record, program, wait_for
from mjpeg_server import MjpegServer
from typer.testing import CliRunner

from patchcore_edge_runtime import Inspector
from patchcore_edge_runtime.bundle.bundle import Bundle
from patchcore_edge_runtime.bundle.edit import BundleEdit, edit_bundle
from patchcore_edge_runtime.cli import app
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.images.files import read_image
from patchcore_edge_runtime.inspection import opened_backend
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend
from patchcore_edge_runtime.inspection.shared_models import SharedModels
from patchcore_edge_runtime.line.config_file import LineFile, load_line, load_lines
from patchcore_edge_runtime.line.several import SeveralLines
from patchcore_edge_runtime.line.watchdog import Notifier, SharedNotifier
from patchcore_edge_runtime.monitoring.status import LineStatus, Snapshot
from patchcore_edge_runtime.sinks import JsonlSink, Record, SinkContext
from patchcore_edge_runtime.sinks.http.settings import HttpSettings
from patchcore_edge_runtime.sinks.http.shared import SharedServer
from patchcore_edge_runtime.sources import Frame, LiveSource
from patchcore_edge_runtime.verdict import Verdict

RUNTIME = "patchcore_edge_runtime"


def write(folder: Path, text: str) -> Path:
    path = folder / "line.toml"
    path.write_text(text, encoding="utf-8")
    return path


def two_folders(bundle: Path, data: Path) -> str:
    """Two lines on files, each with a log of its own."""
    return f"""
bundle = '{bundle}'
[inspect]
sanity = true
[[line]]
name = "left"
[line.source]
uri = '{data / "test" / "good"}'
[line.sinks.jsonl]
path = "left.jsonl"
[[line]]
name = "right"
[line.source]
uri = '{data / "test" / "scratch"}'
[line.sinks.jsonl]
path = "right.jsonl"
"""


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines()]


def test_each_line_has_its_own_verdicts_and_they_are_those_of_a_line_alone(
    tiny_bundle: Path, tiny_data: Path, tmp_path: Path
) -> None:
    done = run_cli("run", "-c", write(tmp_path, two_folders(tiny_bundle, tiny_data)), "--json", program=RUNTIME)
    assert done.returncode == 0, done.stderr
    summaries = [json.loads(row) for row in done.stdout.splitlines()]
    assert [(facts["line"], facts["frames"]) for facts in summaries] == [("left", 6), ("right", 6)]
    alone = Inspector(tiny_bundle)
    for name, kind in (("left", "good"), ("right", "scratch")):
        for record in records(tmp_path / f"{name}.jsonl"):
            expected = alone(read_image(tiny_data / "test" / kind / Path(record["name"]).name))
            assert record["verdict"] == expected.verdict
            assert record["pred_score"] == pytest.approx(expected.pred_score, rel=1e-4)


def test_lines_of_one_graph_share_one_compiled_model_and_it_goes_when_nobody_uses_it(
    tiny_bundle: Path, int8_bundle: Path, tmp_path: Path
) -> None:
    edited = Path(shutil.copytree(tiny_bundle, tmp_path / "edited"))
    models = SharedModels(3)
    first, deviation = models.open(Bundle.load(tiny_bundle), "CPU")
    second, again = models.open(Bundle.load(tiny_bundle), "cpu")
    assert deviation == pytest.approx(again, abs=1e-6)
    assert first.compiled is second.compiled
    assert first.images is not second.images
    assert len(models) == 1
    other, _ = models.open(Bundle.load(int8_bundle), "CPU")
    assert other.compiled is not first.compiled
    assert len(models) == 2
    del other
    assert len(models) == 1
    del first
    assert models.open(Bundle.load(edited), "CPU")[0].compiled is second.compiled, "one of them is left"


def test_what_stands_at_the_top_holds_for_each_line_unless_its_table_says_otherwise(tmp_path: Path) -> None:
    text = """
bundle = "discs"
device = "CPU"
[source]
read_timeout = 2.5
[thresholds]
image = 3.0
warn = 2.0
[sinks.http]
port = 8099
[[line]]
name = "left"
source = { uri = "rtsp://10.0.0.7/live" }
[[line]]
name = "right"
bundle = "rings"
source = { uri = "rtsp://10.0.0.8/live", wait = false, read_timeout = 4 }
thresholds = { image = 5.0 }
"""
    file = load_lines(write(tmp_path, text), {"device": "GPU"}, {"PATCHCORE_EDGE_HOT_SWAP": "true"})
    left, right = file.lines
    assert file.server is not None
    assert file.server.port == 8099
    assert (left.bundle, right.bundle) == (Path("discs"), Path("rings"))
    assert (left.source.read_timeout, right.source.read_timeout) == (2.5, 4)
    assert (left.source.wait, right.source.wait) == (True, False), "a camera that is off keeps nobody waiting"
    assert (right.thresholds.image, right.thresholds.warn) == (5.0, 2.0)
    assert {line.device for line in file.lines} == {"GPU"}
    assert all(line.hot_swap for line in file.lines)
    with pytest.raises(ConfigError, match=r"tables \[\[line\]\]"):
        load_line(tmp_path / "line.toml", {}, {})


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "right"', 'name = "left"', ("line 12, [[line]] 2, name", "[[line]] 1 has the same")),
        ('name = "right"', "", ("line 11, [[line]] 2, name", "it is missing")),
        ('name = "right"', 'name = "a/b"', ("line 12, [[line]] 2, name", "without /")),
        ("[inspect]", "[inspct]", ("line.toml, line 3, inspct", "did you mean inspect?")),
        ('[[line]]\nname = "right"', '[[line]]\nrio = 1\nname = "right"', ("line 12, [[line]] 2, rio", "no key rio")),
        ('path = "right.jsonl"', 'path = "left.jsonl"', ("left.jsonl", "[line.sinks.jsonl] of right", "own")),
        ("[inspect]", "[sinks.jsonl]\npath = 'x'\n[inspect]", ("line 3, sinks.jsonl", "[line.sinks.jsonl] in each")),
        ("[inspect]", "[sinks.http]\nport = -1\n[inspect]", ("line 4, sinks.http.port", "it is -1; give 0 or more")),
        ("[[line]]", "[line]", ("line.toml",)),
    ],
)
def test_what_is_wrong_in_a_file_of_several_lines_is_said_with_its_place(
    old: str, new: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    text = two_folders(Path("bundle"), tmp_path).replace(old, new)
    with pytest.raises(ConfigError) as error:
        load_lines(write(tmp_path, text), {}, {})
    for word in words:
        assert word in str(error.value)


def test_all_that_is_wrong_in_all_lines_is_said_at_once_and_what_they_share_once(tmp_path: Path) -> None:
    text = two_folders(Path("bundle"), tmp_path).replace("sanity = true", "sanity = 'perhaps'")
    text = text.replace('name = "left"', 'name = "left"\ndevice = 3').replace(
        'name = "right"', 'name = "right"\nbundl = 1'
    )
    with pytest.raises(ConfigError) as error:
        load_lines(write(tmp_path, text), {}, {})
    said = str(error.value).split("; ")
    assert sum("inspect.sanity" in part for part in said) == 1
    assert sum("[[line]] 1, device" in part for part in said) == 1
    assert sum("[[line]] 2, bundl:" in part for part in said) == 1


def test_what_belongs_to_one_line_is_refused_for_several(tiny_bundle: Path, tiny_data: Path, tmp_path: Path) -> None:
    config = write(tmp_path, two_folders(tiny_bundle, tiny_data))
    for words in (("-s", "0"), ("--results", tmp_path / "r.jsonl"), ("--show",)):
        done = run_cli("run", "-c", config, *words, program=RUNTIME)
        assert done.returncode == 2
        assert "several lines" in done.stderr
        assert done.stderr.count("\n") == 1


def test_check_says_what_is_wrong_with_each_line_in_one_go(tiny_bundle: Path, tiny_data: Path, tmp_path: Path) -> None:
    text = two_folders(tiny_bundle, tiny_data)
    done = run_cli("check", "-c", write(tmp_path, text), program=RUNTIME)
    assert done.returncode == 0, done.stderr
    assert [row.split(": ")[1].split(",")[0] for row in done.stdout.splitlines()] == ["left", "right"]
    (tmp_path / "file").touch()
    text = text.replace('"left.jsonl"', '"file/l.jsonl"').replace('"right.jsonl"', '"file/r.jsonl"')
    done = run_cli("check", "-c", write(tmp_path, text.replace(str(tiny_bundle), "none")), program=RUNTIME)
    assert done.returncode == 2
    for words in ("left: [sinks.jsonl]: ", "right: [sinks.jsonl]: "):
        assert words in done.stderr
    assert done.stderr.count("is no bundle") == 1, "what they share is wrong once"


@pytest.mark.parametrize("command", ["check", "swap"])
def test_a_command_that_looks_at_several_lines_compiles_their_bundle_once(
    command: str, tiny_bundle: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []

    class Counted(OpenVINOBackend):
        def __init__(self, model_xml: Path, device: str, *words: Any) -> None:
            compiled.append(device)
            super().__init__(model_xml, device, *words)

    monkeypatch.setattr(opened_backend, "OpenVINOBackend", Counted)
    config = write(tmp_path, "inference_precision = 'f32'" + two_folders(Path("bundle"), tiny_data))
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    words = ["-c", str(config)]
    done = CliRunner().invoke(app, ["check", *words] if command == "check" else ["swap", str(tiny_bundle), *words])
    assert done.exit_code == 0, done.output
    assert compiled == ["CPU"]


@contextmanager
def running(file: LineFile) -> Iterator[tuple[SeveralLines, Callable[[], list[Snapshot]]]]:
    """The lines in a thread, and what waits for what they come to."""
    lines = SeveralLines(file)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(lines.run)
        try:
            wait_for(lambda: lines.server is not None or future.done(), 60)
            yield lines, lambda: future.result(60)
        finally:
            lines.stop()


def ask(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")


def cameras(bundle: Path, urls: dict[str, str], more: str = "") -> str:
    lines = "".join(
        f"[[line]]\nname = '{name}'\n[line.source]\nuri = '{url}'\n[line.sinks.jsonl]\npath = '{name}.jsonl'\n"
        for name, url in urls.items()
    )
    return (
        f"bundle = '{bundle}'\n{more}\n[source]\nread_timeout = 0.5\nopen_timeout = 1\nmax_backoff = 0.1\n"
        f"[sinks.http]\nport = 0\n{lines}"
    )


def verdicts(path: Path) -> list[str]:
    return [record["verdict"] for record in records(path)] if path.is_file() else []


def test_a_camera_that_dies_or_never_was_there_disturbs_no_other_line(tiny_bundle: Path, tmp_path: Path) -> None:
    left, right = MjpegServer(good_part), MjpegServer(good_part)
    urls = {"left": left.url, "right": right.url, "absent": f"http://127.0.0.1:{free_port()}/stream"}
    file = load_lines(write(tmp_path, cameras(tiny_bundle, urls)), {}, {})
    process = subprocess.Popen(
        [sys.executable, "-m", RUNTIME, "run", "-c", tmp_path / "line.toml", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert len(file.lines) == 3
        wait_for(lambda: len(verdicts(tmp_path / "left.jsonl")) > 3 and len(verdicts(tmp_path / "right.jsonl")) > 3, 60)
        left.stop()
        wait_for(lambda: "ERROR" in verdicts(tmp_path / "left.jsonl"))
        seen = len(verdicts(tmp_path / "right.jsonl"))
        wait_for(lambda: len(verdicts(tmp_path / "right.jsonl")) > seen + 10)
        left.start()
        wait_for(lambda: verdicts(tmp_path / "left.jsonl")[-1] != "ERROR")
        assert "ERROR" not in verdicts(tmp_path / "right.jsonl")
        assert set(verdicts(tmp_path / "absent.jsonl")) == {"ERROR"}
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()  # closes the pipes too
        left.stop()
        right.stop()
    assert process.returncode == 0, err
    assert {json.loads(row)["line"] for row in out.splitlines()} == {"left", "right", "absent"}


def test_one_web_server_has_a_page_for_each_line_and_tells_them_apart(tiny_bundle: Path, tmp_path: Path) -> None:
    left, right = MjpegServer(good_part), MjpegServer(good_part)
    file = load_lines(write(tmp_path, cameras(tiny_bundle, {"left": left.url, "right": right.url})), {}, {})
    with running(file) as (lines, end):
        server = lines.server
        assert server is not None
        wait_for(lambda: ask(server.port, "/healthz")[0] == 200)
        assert ask(server.port, "/line/left/healthz")[0] == 200
        left.stop()
        wait_for(lambda: ask(server.port, "/line/left/healthz")[0] == 503)
        status, body = ask(server.port, "/healthz")
        health = json.loads(body)
        assert status == 503
        assert health["problem"].startswith("left: The source is ")
        assert (health["lines"]["left"]["state"], health["lines"]["right"]["state"]) == ("unhealthy", "healthy")
        assert ask(server.port, "/line/right/healthz")[0] == 200
        metrics = ask(server.port, "/metrics")[1]
        assert 'patchcore_source_state{line="left",state="lost"} 1.0' in metrics
        assert 'patchcore_source_state{line="right",state="running"} 1.0' in metrics
        assert metrics.count("# TYPE patchcore_frames_total counter") == 1
        assert [facts["name"] for facts in json.loads(ask(server.port, "/status")[1])] == ["left", "right"]
        assert json.loads(ask(server.port, "/line/right/status")[1])["name"] == "right"
        assert ask(server.port, "/line/middle/status")[0] == 404
        assert ask(server.port, "/line/right/trigger", "POST")[0] == 409
        assert "text/html" not in ask(server.port, "/line/right/results")[1]
        lines.stop()
        assert [figures.name for figures in end()] == ["left", "right"]
    right.stop()


@pytest.mark.parametrize("broken", ["bundle", "sink", "camera"])
def test_a_line_that_cannot_start_keeps_all_from_starting_and_leaves_nothing_running(
    broken: str, tiny_bundle: Path, tiny_data: Path, tmp_path: Path
) -> None:
    text = two_folders(tiny_bundle, tiny_data)
    if broken == "bundle":
        text = text.replace('name = "right"', 'name = "right"\nbundle = "none"')
    elif broken == "sink":
        (tmp_path / "file").touch()
        text = text.replace('path = "right.jsonl"', 'path = "file/right.jsonl"')
    else:
        uri = f"http://127.0.0.1:{free_port()}/stream"
        text = text.replace(f"uri = '{tiny_data / 'test' / 'scratch'}'", f"uri = '{uri}'\nwait = false")
    before = set(threading.enumerate())
    done = run_cli("run", "-c", write(tmp_path, text), program=RUNTIME)
    assert done.returncode == {"bundle": 4, "sink": 2, "camera": 3}[broken], done.stderr
    assert sum(" ERROR " in row for row in done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "left.jsonl").is_file() or not records(tmp_path / "left.jsonl")
    wait_for(lambda: not [one for one in set(threading.enumerate()) - before if one.is_alive()])


def test_a_sink_that_fails_or_hangs_disturbs_no_other_line(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = MjpegServer(good_part), MjpegServer(good_part)
    write_line, release = JsonlSink.write, threading.Event()

    def fail(sink: JsonlSink, record: Record) -> None:
        if f":{left.port}/" in record.frame.name:
            release.wait(60)
            raise ConfigError("The disk is full; make room.")
        write_line(sink, record)

    monkeypatch.setattr(JsonlSink, "write", fail)
    file = load_lines(write(tmp_path, cameras(tiny_bundle, {"left": left.url, "right": right.url})), {}, {})
    with running(file) as (lines, end):
        server = lines.server
        assert server is not None
        wait_for(lambda: len(verdicts(tmp_path / "right.jsonl")) > 5, 60)
        release.set()
        wait_for(lambda: json.loads(ask(server.port, "/line/left/healthz")[1])["state"] == "degraded")
        health = json.loads(ask(server.port, "/healthz")[1])
        assert (health["state"], health["lines"]["right"]["state"]) == ("degraded", "healthy")
        seen = len(verdicts(tmp_path / "right.jsonl"))
        wait_for(lambda: len(verdicts(tmp_path / "right.jsonl")) > seen + 5)
        lines.stop()
        figures = {one.name: one for one in end()}
    assert figures["left"].sinks["jsonl"].failed > 0
    assert figures["right"].sinks["jsonl"].failed == 0
    left.stop()
    right.stop()


def test_a_cameras_line_that_fails_unforeseen_is_opened_again_and_the_other_goes_on(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patchcore_edge_runtime.line.several._PAUSE_SECONDS", 1.0)
    left, right = MjpegServer(good_part), MjpegServer(good_part)
    give, failing = LiveSource.__iter__, threading.Event()

    def iterate(source: LiveSource) -> Iterator[Frame]:
        for frame in give(source):
            if failing.is_set() and f":{left.port}/" in frame.name:
                raise RuntimeError("what nobody foresaw")
            yield frame

    monkeypatch.setattr(LiveSource, "__iter__", iterate)
    file = load_lines(write(tmp_path, cameras(tiny_bundle, {"left": left.url, "right": right.url})), {}, {})
    with running(file) as (lines, end):
        server = lines.server
        assert server is not None
        wait_for(lambda: ask(server.port, "/healthz")[0] == 200, 60)
        failing.set()
        wait_for(lambda: "what nobody foresaw" in ask(server.port, "/line/left/healthz")[1])
        assert ask(server.port, "/line/left/healthz")[0] == 503, "an old verdict is not left standing"
        assert ask(server.port, "/line/right/healthz")[0] == 200
        failing.clear()
        wait_for(lambda: ask(server.port, "/healthz")[0] == 200)
        lines.stop()
        end()
    assert "ERROR" not in verdicts(tmp_path / "right.jsonl")
    left.stop()
    right.stop()


def test_a_new_bundle_is_taken_by_each_line_and_compiled_once(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Path] = []
    real = OpenVINOBackend.__init__

    def count(self: OpenVINOBackend, model_xml: Path, *words: Any, **keys: Any) -> None:
        compiled.append(model_xml)
        real(self, model_xml, *words, **keys)

    monkeypatch.setattr(OpenVINOBackend, "__init__", count)
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    left, right = MjpegServer(good_part), MjpegServer(good_part)
    text = cameras(bundle, {"left": left.url, "right": right.url}, "hot_swap = true")
    with running(load_lines(write(tmp_path, text), {}, {})) as (lines, end):
        server = lines.server
        assert server is not None
        wait_for(lambda: ask(server.port, "/healthz")[0] == 200, 60)
        assert len(compiled) == 1
        edit_bundle(bundle, BundleEdit(image=1e6), "Ada")
        digest = Bundle.load(bundle).digest
        wait_for(lambda: [one["manifest"] for one in json.loads(ask(server.port, "/status")[1])] == [digest] * 2, 60)
        assert len(compiled) == 2, "the labels and limits in the graph are others, and so is its digest"
        lines.stop()
        assert [one.swaps for one in end()] == [1, 1]
    left.stop()
    right.stop()


def test_systemd_hears_of_all_lines_together() -> None:
    heard: list[tuple[str, ...]] = []

    class Manager(Notifier):
        """What would be sent to systemd."""

        def send(self, *lines: str) -> None:
            heard.append(lines)

    shared = SharedNotifier(Manager({"NOTIFY_SOCKET": "/x"}), ["left", "right"])
    left, right = shared.of("left"), shared.of("right")
    left.send("READY=1", "STATUS=Waiting for the first frame.")
    assert "READY=1" not in heard[-1], "one of them is not ready"
    right.send("READY=1", "STATUS=Waiting for the first frame.")
    assert heard[-1][0] == "READY=1"
    left.send("STATUS=1 frames, source running.", "WATCHDOG=1")
    left.send("STATUS=2 frames, source running.", "WATCHDOG=1")
    assert "WATCHDOG=1" not in heard[-1], "the other one does not go on"
    assert heard[-1][-1] == "STATUS=left: 2 frames, source running. right: Waiting for the first frame."
    right.send("STATUS=1 frames, source running.", "WATCHDOG=1")
    assert "WATCHDOG=1" in heard[-1]
    right.send("STATUS=2 frames, source lost.", "X_PROBLEM=The source is lost.")
    assert heard[-1][-1] == "X_PROBLEM=right: The source is lost."
    right.send("STOPPING=1", "STATUS=Stopped after 1 frames.")
    assert "STOPPING=1" not in heard[-1]
    left.send("STATUS=3 frames, source running.", "WATCHDOG=1")
    assert "WATCHDOG=1" in heard[-1], "one that has come to its end is not waited for"
    left.send("STOPPING=1", "STATUS=Stopped after 3 frames.")
    assert "STOPPING=1" in heard[-1]


def test_the_overview_in_a_browser_shows_each_line(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="needs the package uvicorn")
    program("chromium", "google-chrome")
    server = SharedServer(HttpSettings(port=0), ["left", "right <b>"])
    try:
        for name, verdict in (("left", Verdict.NG), ("right <b>", Verdict.OK)):
            status = LineStatus(name)
            page = server.page_of(name, SinkContext(status=status))
            record = make_record(verdict)
            status.add(record.result)
            page.write(record)
            server.say(name, "running")
        address = f"http://127.0.0.1:{server.port}/"
        page_text = browse(address, tmp_path, "--virtual-time-budget=4000", "--dump-dom")
    finally:
        server.close()
    assert '<a class="NG" href="line/left/"><h2 class="">left</h2><b class="">NG</b>' in page_text
    assert 'href="line/right%20%3Cb%3E/"><h2 class="">right &lt;b&gt;</h2><b class="">OK</b>' in page_text
