from __future__ import annotations

import http.server
import json
import logging
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from line_records import free_port, make_record, wait_for
from pydantic import ValidationError

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.sinks import (
    SINKS,
    ArchiveSink,
    JsonlSink,
    Record,
    SinkContext,
    SinkGroup,
    SinkSettings,
    SinkWorker,
    SqliteSink,
    VideoSegmentSink,
    WebhookSink,
    open_sinks,
)
from patchcore_edge_runtime.sinks.registry import read_table
from patchcore_edge_runtime.sinks.video import VideoSink
from patchcore_edge_runtime.sinks.webhook import WebhookSettings
from patchcore_edge_runtime.verdict import Verdict


class Gate:
    """A sink that stores nothing until it is let."""

    def __init__(self) -> None:
        self.open, self.seen, self.closed = threading.Event(), [], False

    def write(self, record) -> None:
        assert self.open.wait(20)
        self.seen.append(record)

    def close(self) -> None:
        self.closed = True


class Refuses(Gate):
    def write(self, record) -> None:
        raise OSError("no such place")


# --- the worker


def test_a_hanging_sink_delays_nobody_and_its_losses_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    worker = SinkWorker("slow", gate, SinkSettings(queue=4))
    with caplog.at_level(logging.WARNING):
        for index in range(20):
            worker.write(make_record(index=index, size=(64, 48)))
    counts = worker.counts()
    # One is in the sink's hands, four wait.
    assert counts.written == 0
    assert counts.dropped in (15, 16)
    assert "sink slow is too slow" in caplog.text
    gate.open.set()
    worker.close()
    assert gate.closed
    counts = worker.counts()
    assert counts.written + counts.dropped == 20
    assert len(gate.seen) == counts.written
    assert [record.frame.index for record in gate.seen] == sorted(record.frame.index for record in gate.seen)


def test_a_source_that_can_wait_loses_nothing() -> None:
    gate = Gate()
    gate.open.set()
    worker = SinkWorker("files", gate, SinkSettings(queue=1), wait=True)
    for index in range(50):
        worker.write(make_record(index=index, size=(64, 48)))
    worker.close()
    assert len(gate.seen) == 50
    assert worker.counts().dropped == 0


def test_closing_gives_up_on_a_sink_that_never_returns_and_says_what_is_lost(caplog) -> None:
    gate = Gate()
    worker = SinkWorker("dead", gate, close_seconds=0.05)
    for index in range(3):
        worker.write(make_record(index=index, size=(64, 48)))
    with caplog.at_level(logging.WARNING):
        worker.close()
    assert worker.counts().dropped == 3
    assert "3 records were dropped" in caplog.text
    gate.open.set()


def test_a_record_in_hand_when_a_sink_is_given_up_counts_once() -> None:
    gate = Gate()
    worker = SinkWorker("slow", gate, close_seconds=0.05)
    worker.write(make_record(size=(64, 48)))
    wait_for(lambda: worker.counts().waiting == 0)
    worker.close()
    worker.close()
    gate.open.set()
    wait_for(lambda: gate.closed)
    counts = worker.counts()
    assert (counts.written, counts.dropped, counts.failed) == (0, 1, 0)


class SlowVideo(VideoSink):
    """Writes a picture only when it is let."""

    let = threading.Semaphore(0)

    def write(self, record: Record) -> None:
        assert self.let.acquire(timeout=20)
        super().write(record)

    def close(self) -> None:
        time.sleep(0.2)
        super().close()


def test_a_video_that_is_given_up_at_the_end_is_closed_and_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patchcore_edge_runtime.sinks.worker._CLOSE_SECONDS", 0.05)
    video = SlowVideo(tmp_path / "line.mp4", 10, "mp4v")
    worker = SinkWorker("video", video)
    for index in range(4):
        worker.write(make_record(index=index, size=(320, 240)))
    video.let.release(2)
    wait_for(lambda: worker.counts().written == 2)
    threading.Timer(0.5, video.let.release).start()
    SinkGroup({"video": worker}).close()
    assert worker.counts().dropped == 2
    capture = cv2.VideoCapture(str(tmp_path / "line.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) >= 2
    assert capture.read()[0]


class Patient(SinkWorker):
    """Notes for how long it was asked to wait, and lets that time pass on a clock of its own."""

    def __init__(self, name: str, clock: Clock) -> None:
        super().__init__(name, Gate())
        self.clock, self.finished, self.waited = clock, False, -1.0

    def finish(self) -> None:
        self.finished = True

    def close(self, seconds: float | None = None) -> None:
        assert seconds is not None
        self.waited = seconds
        self.clock.now += seconds

    def wait_closed(self, seconds: float) -> None:
        self.clock.now += seconds


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_dead_sinks_are_waited_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    workers = [Patient(str(number), clock) for number in range(20)]
    monkeypatch.setattr("patchcore_edge_runtime.sinks.worker.time", clock)
    SinkGroup({worker.name: worker for worker in workers}).close()
    assert clock.now == 115.0, "twenty dead sinks take the ten seconds of one, and its five for an end"
    assert all(worker.finished for worker in workers), "each could drain while the others were waited for"
    assert [worker.waited for worker in workers] == [10.0] + [0.0] * 19
    for worker in workers:
        SinkWorker.finish(worker)


def test_waiting_pictures_are_bounded_in_bytes() -> None:
    gate = Gate()
    worker = SinkWorker("large", gate, SinkSettings(queue=100))
    for index in range(12):
        worker.write(make_record(index=index, size=(3840, 2160)))
    assert worker.counts().waiting <= 2
    gate.open.set()
    worker.close()


def test_a_sink_without_pictures_keeps_none_alive() -> None:
    gate = Gate()
    worker = SinkWorker("text", gate, pictures=False)
    records = [make_record(Verdict.NG), make_record(Verdict.OK)]
    for record in records:
        worker.write(record)
    gate.open.set()
    worker.close()
    assert [seen.frame.image for seen in gate.seen] == [None, None]
    assert [seen.to_dict() for seen in gate.seen] == [record.to_dict() for record in records]
    assert gate.seen[0].to_dict()["regions"]
    assert gate.seen[1].result.model_map is None, "a good part has no regions to look for"
    assert not {"anomaly_map", "pred_mask"} & set(vars(gate.seen[0].result)), "frame-sized maps are not kept"


def test_a_refusing_sink_is_reported_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    refusing, working = SinkWorker("bad", Refuses()), SinkWorker("good", gate := Gate())
    gate.open.set()
    with caplog.at_level(logging.WARNING):
        for worker in (refusing, working):
            for index in range(5):
                worker.write(make_record(index=index))
            worker.close()
    assert refusing.counts().failed == 5
    assert "no such place" in refusing.counts().error
    assert working.counts().written == 5
    assert len(caplog.records) == 1, "one line a minute, not one a record"


def test_only_the_asked_verdicts_reach_a_sink() -> None:
    gate = Gate()
    gate.open.set()
    worker = SinkWorker("ng", gate, SinkSettings(verdicts=(Verdict.NG,)))
    for verdict in Verdict:
        worker.write(make_record(verdict))
    worker.close()
    assert [record.result.verdict for record in gate.seen] == [Verdict.NG]


def test_a_line_opens_its_sinks_by_name_and_counts_in_its_status(tmp_path: Path) -> None:
    context = SinkContext(folder=tmp_path, live=False)
    tables = {name: read_table(name, {"path": name}) for name in ("jsonl", "sqlite")}
    tables["second"] = read_table("second", {"kind": "jsonl", "path": "second"})
    group = open_sinks(tables, context, {"mine": (gate := Gate())})
    gate.open.set()
    for verdict in Verdict:
        group.write(make_record(verdict))
    group.close()
    written = {name: figures.written for name, figures in context.status.snapshot().sinks.items()}
    assert written == {"jsonl": 4, "sqlite": 4, "second": 4, "mine": 4}
    assert (
        len((tmp_path / "jsonl").read_text().splitlines()) == len((tmp_path / "second").read_text().splitlines()) == 4
    )
    assert gate.closed


PLACES = {"jsonl": "path", "sqlite": "path", "archive": "folder", "video": "folder", "video_file": "path"}


@pytest.mark.parametrize("kind", PLACES)
def test_a_sink_whose_place_cannot_be_made_is_a_sentence_and_closes_the_ones_before_it(
    kind: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    tables = {
        "first": read_table("first", {"kind": "jsonl", "path": "results.jsonl"}),
        kind: read_table(kind, {PLACES[kind]: "file/below.mp4"}),
    }
    with pytest.raises(ConfigError, match="file") as error:
        open_sinks(tables, SinkContext(folder=tmp_path))
    assert str(error.value).count(".\n") == 0
    assert not any(thread.name == "sink-first" for thread in threading.enumerate())


def test_whatever_a_sink_raises_at_its_start_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/locked")

    monkeypatch.setattr(ArchiveSink, "from_settings", refuse)
    with pytest.raises(ConfigError, match=r"The sink archive cannot start \(.*/locked.*\); correct its place"):
        open_sinks({"archive": read_table("archive", {"folder": tmp_path})}, SinkContext())


@pytest.mark.parametrize("name", sorted(SINKS))
def test_a_misspelt_key_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        SINKS[name].Settings.model_validate({"host": "x", "path": "x", "folder": "x", "url": "http://x", "colour": 1})


# --- JSONL and SQLite


def test_jsonl_rotates_and_keeps_every_line(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "results.jsonl"
    sink = JsonlSink(path, append=True, max_bytes=1200, keep=50)
    for index in range(30):
        sink.write(make_record(index=index))
    sink.close()
    files = sorted(path.parent.iterdir(), key=lambda file: -int(file.suffix[1:] if file != path else 0))
    assert len(files) > 5
    assert all(file.stat().st_size <= 1200 for file in files)
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(30))


def test_jsonl_keeps_no_more_rotated_files_than_asked(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "r.jsonl", append=True, max_bytes=500, keep=2)
    for index in range(20):
        sink.write(make_record(index=index))
    sink.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["r.jsonl", "r.jsonl.1", "r.jsonl.2"]


def test_jsonl_goes_on_after_a_line_cut_off_by_a_power_failure(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"frame": 7}\n{"fra')
    sink = JsonlSink(path, append=True)
    sink.write(make_record(index=8))
    sink.close()
    assert [json.loads(line)["frame"] for line in path.read_text().splitlines()] == [7, 8]


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limit on file sizes in place of a full disk")
def test_a_full_disk_leaves_whole_lines_only(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from line_records import make_record
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.sinks import JsonlSink
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sink = JsonlSink(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
refused = 0
for index in range(20):
    try:
        sink.write(make_record(index=index))
    except ConfigError:
        refused += 1
    if index == 15:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(refused)
"""
    path = tmp_path / "r.jsonl"
    tests = str(Path(__file__).resolve().parents[1])
    done = subprocess.run([sys.executable, "-c", code, str(path), tests], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    frames = [json.loads(line)["frame"] for line in path.read_text().splitlines()]
    assert len(frames) + int(done.stdout) == 20
    assert 0 < int(done.stdout) < 16
    assert frames[-4:] == [16, 17, 18, 19]


def test_a_database_of_an_earlier_version_goes_on_and_names_the_manifest_from_now_on(tmp_path: Path) -> None:
    path = tmp_path / "line.db"
    columns = "id INTEGER PRIMARY KEY, time REAL NOT NULL, frame INTEGER NOT NULL, name TEXT NOT NULL"
    with sqlite3.connect(path) as database:
        database.execute(
            f"CREATE TABLE results ({columns}, verdict TEXT NOT NULL, pred_score REAL, model_id TEXT NOT NULL, "
            "record TEXT NOT NULL)"
        )
        database.execute("INSERT INTO results VALUES (1, 2.0, 3, 'a.png', 'OK', 1.5, 'discs@0', '{}')")
    database.close()
    sink = SqliteSink(path)
    sink.write(make_record())
    sink.close()
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT manifest, json_extract(record, '$.manifest') FROM results").fetchall()
    database.close()
    assert rows == [("", None), ("0123abcd", "0123abcd")]


def test_sqlite_can_be_queried_and_keeps_the_newest_rows(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    sink = SqliteSink(path, max_rows=10)
    for index in range(35):
        sink.write(make_record(Verdict.NG if index % 5 == 0 else Verdict.ERROR, index=index))
    sink.close()
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT frame, verdict, pred_score, record FROM results ORDER BY id").fetchall()
    database.close()
    assert 10 <= len(rows) <= 20
    assert rows[-1][0] == 34
    assert all(json.loads(record)["verdict"] == verdict for _, verdict, _, record in rows)
    assert {score for _, verdict, score, _ in rows if verdict == "ERROR"} == {None}


# --- image archive and video


def _entries(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.json"))


def test_the_archive_holds_frame_overlay_and_facts_of_what_is_not_ok(tmp_path: Path) -> None:
    sink = ArchiveSink(tmp_path)
    records = [make_record(verdict, index, moment=1_790_000_000 + index) for index, verdict in enumerate(Verdict)]
    for record in records:
        sink.write(record)
    entries = _entries(tmp_path)
    assert entries == [
        "2026-09-21/14-13-21.000Z_000001_WARN.json",
        "2026-09-21/14-13-22.000Z_000002_NG.json",
        "2026-09-21/14-13-23.000Z_000003_ERROR.json",
    ]
    stem = tmp_path / entries[1].removesuffix(".json")
    assert np.array_equal(cv2.imread(f"{stem}.png"), records[2].frame.image), "the raw frame is lossless"
    assert cv2.imread(f"{stem}_overlay.jpg").shape == records[2].overlay.shape
    assert json.loads(Path(f"{stem}.json").read_text()) == records[2].to_dict()
    assert not (tmp_path / entries[2].replace(".json", ".png")).exists(), "an ERROR without a frame has no raw frame"


def test_the_archive_stays_in_its_budget_and_the_oldest_go_first(tmp_path: Path) -> None:
    day = 86_400
    mine = tmp_path / "keep me.txt"
    mine.write_text("the user's own")
    sink = ArchiveSink(tmp_path, max_bytes=200_000)
    for index in range(12):
        sink.write(make_record(Verdict.NG, index, moment=1_790_000_000 + index * day))
    # A restart knows what is there.
    ArchiveSink(tmp_path, max_bytes=200_000).write(make_record(Verdict.NG, 12, moment=1_790_000_000 + 12 * day))
    used = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file() and path != mine)
    assert 100_000 < used <= 200_000
    indices = [int(entry.split("_")[1]) for entry in _entries(tmp_path)]
    assert indices == list(range(13 - len(indices), 13))
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == len(indices), "empty days are removed"
    assert mine.read_text() == "the user's own"


def test_an_archive_entry_larger_than_the_budget_is_refused_and_nothing_is_removed(tmp_path: Path) -> None:
    ArchiveSink(tmp_path).write(make_record(Verdict.NG, 1))
    with pytest.raises(ConfigError, match="raise max_mb"):
        ArchiveSink(tmp_path, max_bytes=1000).write(make_record(Verdict.NG, 2))
    assert len(_entries(tmp_path)) == 1


def test_an_old_entry_that_somebody_holds_open_does_not_stop_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = ArchiveSink(tmp_path, max_bytes=200_000)
    sink.write(make_record(Verdict.NG, 0, moment=1_790_000_000))
    unlink = Path.unlink

    def held(self: Path, missing_ok: bool = False) -> None:
        if "_000000_" in self.name:
            raise PermissionError(13, "in use")
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", held)
    for index in range(1, 12):
        sink.write(make_record(Verdict.NG, index, moment=1_790_000_000 + index))
    indices = [int(entry.split("_")[1]) for entry in _entries(tmp_path)]
    assert indices[0] == 0
    assert indices[-1] == 11
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 200_000


def test_a_half_written_archive_entry_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.suffix == ".json":
            write_bytes(self, data[:10])
            raise OSError(28, os.strerror(28))
        return write_bytes(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ConfigError, match=re.escape(os.strerror(28))):
        ArchiveSink(tmp_path).write(make_record(Verdict.NG))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_video_segments_play_and_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(np.arange(0.0, 1000.0, 10.0))
    # Not the clock of all: threads of other tests may still be asking it.
    clock = SimpleNamespace(monotonic=lambda: float(next(moments)))
    monkeypatch.setattr("patchcore_edge_runtime.sinks.video.time", clock)
    sink = VideoSegmentSink(tmp_path, 10.0, minutes=0.5, max_bytes=10**9)
    for index in range(3):
        sink.write(make_record(index=index, size=(640, 480)))
    # The camera changes its resolution: the segment goes on in the first size.
    sink.write(make_record(size=(320, 800)))
    sink.close()
    (segment,) = tmp_path.iterdir()
    capture = cv2.VideoCapture(str(segment))
    frames = 0
    while (read := capture.read())[0]:
        assert read[1].shape == make_record(size=(640, 480)).overlay.shape
        frames += 1
    capture.release()
    assert frames == 4


def test_the_oldest_video_segments_go_when_the_budget_is_reached(tmp_path: Path) -> None:
    for year in (2020, 2021):
        (tmp_path / f"{year}0101T000000Z.mp4").write_bytes(bytes(1_000_000))
    sink = VideoSegmentSink(tmp_path, 10.0, minutes=1, max_bytes=1_500_000)
    sink.write(make_record(size=(320, 240)))
    sink.close()
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept[0] == "20210101T000000Z.mp4"
    assert len(kept) == 2


# --- webhook


class Receiver:
    """A web server on loopback that answers as it is told and remembers what it got."""

    def __init__(self) -> None:
        self.got, self.answers = [], []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), json.loads(body)))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_a_webhook_posts_each_record_with_its_token(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_TOKEN", "s3cret")
    sink = WebhookSink(WebhookSettings(url=receiver.url, token_env="HOOK_TOKEN"))
    record = make_record(Verdict.NG, 5)
    sink.write(record)
    ((headers, body),) = receiver.got
    assert body == record.to_dict()
    assert headers["Authorization"] == "Bearer s3cret"


def test_a_webhook_tries_again_and_then_says_so(receiver: Receiver) -> None:
    sink = WebhookSink(WebhookSettings(url=receiver.url, retries=2), first_pause=0.001)
    receiver.answers = [500, 503]
    sink.write(make_record())
    assert len(receiver.got) == 3
    receiver.answers = [500, 500, 500]
    with pytest.raises(ConfigError, match="did not take the record"):
        sink.write(make_record())


def test_a_webhook_does_not_follow_a_redirect(receiver: Receiver) -> None:
    receiver.answers = [302]
    with pytest.raises(ConfigError, match="did not take"):
        WebhookSink(WebhookSettings(url=receiver.url, retries=0)).write(make_record())
    assert len(receiver.got) == 1


def test_a_webhook_that_nobody_serves_costs_records_and_not_the_line() -> None:
    settings = WebhookSettings(url=f"http://127.0.0.1:{free_port()}/", retries=0)
    worker = SinkWorker("webhook", WebhookSink(settings), settings, pictures=False)
    worker.write(make_record())
    wait_for(lambda: worker.counts().failed == 1)
    worker.close()


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\n"])
def test_a_webhooks_answer_in_drips_is_given_up_in_time(first: bytes) -> None:
    ended = threading.Event()

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(first)
            while not ended.wait(0.05):
                try:
                    connection.sendall(b"X: a\r\n" if first else b"H")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        sink = WebhookSink(WebhookSettings(url=url, retries=0, timeout=0.3))
        with pytest.raises(ConfigError, match="timed out"):
            sink.write(make_record())
        ended.set()
        thread.join(20)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "host/x", "http:///x"])
def test_only_web_addresses_are_webhooks(url: str) -> None:
    with pytest.raises(ConfigError, match="begins with http:// or https://"):
        WebhookSettings(url=url)


def test_a_missing_secret_is_named() -> None:
    with pytest.raises(ConfigError, match="NO_SUCH_TOKEN is not set"):
        WebhookSink(WebhookSettings(url="http://127.0.0.1/", token_env="NO_SUCH_TOKEN"))


@pytest.mark.parametrize(("name", "package"), [("http", "starlette"), ("mqtt", "paho"), ("modbus", "pymodbus")])
def test_a_sink_whose_extra_is_missing_names_it(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [module for module in sys.modules if module.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    keys = {"host": "127.0.0.1"} if name == "modbus" else {}
    with pytest.raises(ConfigError, match=re.escape(f"pip install 'patchcore-edge-runtime[{name}]'")):
        SINKS[name].from_settings(SINKS[name].Settings.model_validate(keys), SinkContext())
