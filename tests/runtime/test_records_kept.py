"""No record that is counted as written is lost: not to a rotation, a lock, a deletion or damage."""

from __future__ import annotations

import errno
import json
import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
from line_records import make_record, wait_for

from patchcore_edge_runtime.database import PlaceBusyError
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.place_lock import PlaceLock
from patchcore_edge_runtime.sinks import JsonlSink, SinkContext, SinkWorker, SqliteSink, VideoSink, open_sinks
from patchcore_edge_runtime.sinks.registry import read_table
from patchcore_edge_runtime.sinks.spool import Spool
from patchcore_edge_runtime.sinks.video import VideoSegmentSink
from patchcore_edge_runtime.verdict import Verdict

TESTS = Path(__file__).resolve().parents[1]
posix = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows moves and deletes no open file, and has no setrlimit"
)


def frames(*files: Path) -> list[int]:
    return [json.loads(line)["frame"] for file in files for line in file.read_bytes().splitlines()]


def rows(path: Path) -> list[int]:
    database = sqlite3.connect(path)
    try:
        return [row[0] for row in database.execute("SELECT frame FROM results ORDER BY id")]
    finally:
        database.close()


def write(sink: Any, *indices: int) -> None:
    for index in indices:
        sink.write(make_record(Verdict.ERROR, index))


# --- JSONL: rotation


EXHAUSTED = """
import json, os, resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from line_records import make_record
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.sinks import JsonlSink
from patchcore_edge_runtime.verdict import Verdict
sink = JsonlSink(Path(sys.argv[1]), append=True, max_bytes=3000, keep=4)
claimed = []
def write(*indices):
    for index in indices:
        try:
            sink.write(make_record(Verdict.ERROR, index))
            claimed.append(index)
        except ConfigError:
            pass
write(*range(12))
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 4, 10_000))
held = []
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
write(*range(12, 60))
for one in held:
    os.close(one)
write(*range(60, 64))
print(json.dumps(claimed))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc and limit on descriptors")
def test_a_rotation_without_a_descriptor_left_loses_no_line(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    command = [sys.executable, "-c", EXHAUSTED, str(path), str(TESTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == list(range(64)), "every record was written, into a file that grew on"
    files = sorted(tmp_path.iterdir(), key=lambda file: -int(file.suffix[1:]) if file != path else 0)
    assert frames(*files) == list(range(64))
    assert done.stderr.count("cannot be rotated now") == 1


@pytest.mark.parametrize("refused", ["r.jsonl", "r.jsonl.1", "r.jsonl.new"])
def test_a_rotation_that_fails_half_way_loses_no_line(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, replace = tmp_path / "r.jsonl", Path.replace
    sink = JsonlSink(path, append=True, max_bytes=1500, keep=50)
    write(sink, *range(10))
    with monkeypatch.context() as patch:

        def held(self: Path, target: Path) -> Path:
            if self.name == refused:
                raise PermissionError(13, "in use")
            return replace(self, target)

        patch.setattr(Path, "replace", held)
        write(sink, *range(10, 20))
    write(sink, *range(20, 30))
    sink.close()
    assert sorted(frames(*tmp_path.iterdir())) == list(range(30))


def test_a_gap_in_the_numbers_is_filled_before_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for number, index in ((1, 7), (3, 5)):
        (tmp_path / f"r.jsonl.{number}").write_text(f'{{"frame": {index}}}\n')
    sink = JsonlSink(path, append=True, max_bytes=1, keep=3)
    write(sink, 8, 9)
    sink.close()
    assert frames(*(tmp_path / f"r.jsonl.{number}" for number in (3, 2, 1)), path) == [5, 7, 8, 9]


# --- JSONL: deleted, moved, cut


def deleted(path: Path) -> Path | None:
    path.unlink()
    return None


def moved(path: Path) -> Path | None:
    return path.replace(path.with_name("old"))


def moved_and_made_anew(path: Path) -> Path | None:
    old = path.replace(path.with_name("old"))
    path.touch()
    return old


def its_folder_deleted(path: Path) -> Path | None:
    for one in path.parent.iterdir():
        one.unlink()
    path.parent.rmdir()
    return None


TAKEN_AWAY = [deleted, moved, moved_and_made_anew, its_folder_deleted]


@posix
@pytest.mark.parametrize("take_away", TAKEN_AWAY)
def test_a_results_file_taken_away_is_noticed_before_the_next_line(
    take_away: Callable[[Path], Path | None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "logs" / "r.jsonl"
    sink = JsonlSink(path, append=True)
    write(sink, 0, 1)
    old = take_away(path)
    with caplog.at_level(logging.WARNING):
        write(sink, 2, 3)
    sink.close()
    assert frames(path) == [2, 3]
    assert old is None or frames(old) == [0, 1]
    assert caplog.text.count("was deleted, moved or replaced") == 1


@posix
def test_a_results_file_that_cannot_be_made_anew_counts_no_record_as_written(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "r.jsonl"
    sink = JsonlSink(path, append=True)
    its_folder_deleted(path)
    (tmp_path / "logs").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        write(sink, 0)
    (tmp_path / "logs").unlink()
    write(sink, 1)
    sink.close()
    assert frames(path) == [1]


@posix
def test_records_go_down_a_pipe_that_has_a_reader_and_to_no_other(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="cannot be written"):
        JsonlSink(pipe, append=True)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        sink = JsonlSink(pipe, append=True, max_bytes=1, keep=2)
        write(sink, 0, 1)
        sink.close()
        lines = os.read(reader, 1 << 16).splitlines()
    finally:
        os.close(reader)
    assert [json.loads(line)["frame"] for line in lines] == [0, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_device_without_an_end_is_not_read_and_its_lost_records_are_said() -> None:
    sink = JsonlSink(Path("/dev/full"), append=True)
    for _ in range(2):
        with pytest.raises(ConfigError, match="No space left"):
            write(sink, 0)
    sink.close()


def test_a_results_file_cut_by_another_program_goes_on_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    sink = JsonlSink(path, append=True)
    write(sink, 0, 1)
    # logrotate's copytruncate.
    os.truncate(path, 0)
    write(sink, 2)
    sink.close()
    assert frames(path) == [2]


# --- databases


@posix
@pytest.mark.parametrize("take_away", TAKEN_AWAY)
def test_a_database_taken_away_is_noticed_before_the_next_row(
    take_away: Callable[[Path], Path | None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "logs" / "r.db"
    sink = SqliteSink(path)
    write(sink, 0, 1)
    old = take_away(path)
    with caplog.at_level(logging.WARNING):
        write(sink, 2, 3)
    sink.close()
    assert rows(path) == [2, 3]
    assert old is None or rows(old) == [0, 1], "what was in the journal is in the file that was moved"
    assert "was deleted, moved or replaced" in caplog.text


@posix
def test_a_spool_taken_away_is_noticed_before_the_next_record(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", 10)
    for text in ("a", "b"):
        spool.append(text)
    number = spool.oldest(1)[0][0]
    old = moved(tmp_path / "spool.db")
    spool.append("c")
    # Delivered meanwhile: it is not in this file, which counts from one again.
    spool.remove(number)
    assert [text for _, text in spool.oldest(10)] == ["c"]
    assert len(spool) == 1
    spool.close()
    assert old is not None
    old = Spool(old, 10)
    assert [text for _, text in old.oldest(10)] == ["a", "b"]
    old.close()


def locked(path: Path) -> sqlite3.Connection:
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_records_wait_while_another_program_holds_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("patchcore_edge_runtime.database._BUSY_SECONDS", 0.01)
    path = tmp_path / "r.db"
    worker = SinkWorker("sqlite", SqliteSink(path), pictures=False)
    other = locked(path)
    with caplog.at_level(logging.WARNING):
        write(worker, *range(20))
        wait_for(lambda: "locked by another program" in worker.counts().error)
        assert worker.counts().waiting == 19
        other.execute("COMMIT")
        other.close()
        wait_for(lambda: worker.counts().written == 20)
    worker.close()
    counts = worker.counts()
    assert (counts.failed, counts.dropped, counts.error) == (0, 0, "")
    assert rows(path) == list(range(20))
    assert caplog.text.count("waits: ") == 1


class Busy:
    """A place that nobody lets go of."""

    def __init__(self) -> None:
        self.tries = 0

    def write(self, _record: Any) -> None:
        self.tries += 1
        raise PlaceBusyError("It is locked.")

    def close(self) -> None: ...


def test_a_place_that_stays_busy_holds_up_a_run_of_files_for_a_while_and_not_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("patchcore_edge_runtime.sinks.worker._BUSY_SECONDS", 0.3)
    monkeypatch.setattr("patchcore_edge_runtime.sinks.worker._BUSY_PAUSE_SECONDS", 0.01)
    busy = Busy()
    worker = SinkWorker("busy", busy, pictures=False, wait=True)
    write(worker, *range(5))
    wait_for(lambda: worker.counts().failed == 5)
    assert busy.tries > 5, "the first was tried again and again"
    worker.close()


def test_a_line_ends_though_a_place_stays_busy() -> None:
    worker = SinkWorker("busy", Busy(), pictures=False, close_seconds=0.05)
    write(worker, 0, 1)
    worker.close()
    assert worker.counts().dropped == 2
    wait_for(lambda: not any(thread.name == "sink-busy" for thread in threading.enumerate()))


def test_a_database_that_is_locked_at_the_start_does_not_keep_the_line_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patchcore_edge_runtime.database._BUSY_SECONDS", 0.01)
    path = tmp_path / "r.db"
    SqliteSink(path).close()
    # Another program that does not share: exclusive locks outlive a transaction.
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    sink = SqliteSink(path)
    with pytest.raises(PlaceBusyError, match="locked by another program"):
        write(sink, 0)
    other.close()
    write(sink, 1)
    sink.close()
    assert rows(path) == [1]


def all_noise(path: Path) -> None:
    path.write_bytes(os.urandom(5000))


def all_zeros(path: Path) -> None:
    path.write_bytes(bytes(8192))


def some_text(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 100)


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


def bad_header(path: Path) -> None:
    path.write_bytes(b"\xff" * 100 + path.read_bytes()[100:])


def bad_pages(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:100] + b"\xff" * (len(data) - 100))


DAMAGES = [all_noise, all_zeros, some_text, cut_off, bad_header, bad_pages]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_is_set_aside_and_the_line_starts(
    damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "r.db"
    sink = SqliteSink(path)
    write(sink, *range(50))
    sink.close()
    damage(path)
    damaged = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        sink = SqliteSink(path)
        write(sink, 70, 71)
        sink.close()
    assert rows(path) == [70, 71]
    (aside,) = tmp_path.glob("r.db.damaged-*")
    assert aside.read_bytes() == damaged
    assert f"is set aside as {aside.name}" in caplog.text


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_spool_is_set_aside_and_takes_records(damage: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    spool = Spool(path, 1000)
    for index in range(200):
        spool.append(f"record {index}" * 20)
    spool.close()
    damage(path)
    spool = Spool(path, 1000)
    spool.append("new")
    assert spool.oldest(1000)[-1][1] == "new"
    assert len(spool) == len(spool.oldest(1000))
    spool.close()
    assert len(list(tmp_path.glob("spool.db.damaged-*"))) == 1


def test_a_database_that_is_damaged_while_the_line_runs_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    SqliteSink(path).close()
    sink = SqliteSink(path)
    with path.open("r+b") as file:
        file.write(b"\xff" * path.stat().st_size)
    write(sink, 0, 1)
    sink.close()
    assert rows(path)[-1] == 1
    assert len(list(tmp_path.glob("r.db.damaged-*"))) == 1


def journal_overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xa5" * path.stat().st_size)


def journal_hit_in_one_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(200)
        file.write(b"\xa5" * 64)


def journal_of_before(path: Path) -> None:
    """What a backup brings back: a journal that was sound, of other rows."""
    data = path.read_bytes()
    path.write_bytes(bytes(len(data) // 2) + data[len(data) // 2 :])


JOURNALS: dict[str, Callable[[Path], object]] = {
    "overwritten": journal_overwritten,
    "hit": journal_hit_in_one_page,
    "played back": journal_of_before,
    "emptied": lambda path: path.write_bytes(b""),
    "deleted": lambda path: path.unlink(),
    "replaced": lambda path: (path.rename(path.with_name("away")), path.write_bytes(b"\xa5" * 5000)),
}


@posix
@pytest.mark.parametrize("kind", JOURNALS)
def test_a_journal_that_another_program_writes_over_loses_no_row(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "r.db"
    sink = SqliteSink(path)
    # Beyond what is kept: those are in the file itself.
    write(sink, *range(300))
    with caplog.at_level(logging.WARNING):
        for first in (300, 310):
            journal = path.with_name("r.db-wal")
            JOURNALS[kind](journal)
            if journal.exists():  # the clock of a disk stands still for some milliseconds
                os.utime(journal, (first, first))
            write(sink, *range(first, first + 10))
    assert rows(path) == list(range(320)), "each once, for who reads while the line runs"
    sink.close()
    assert rows(path) == list(range(320))
    assert caplog.text.count("by another program") == 2
    assert not list(tmp_path.glob("*.damaged-*"))


@posix
def test_a_journal_that_another_program_writes_over_loses_no_message(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", 100)
    for number in range(10):
        spool.append(str(number))
    journal_overwritten(tmp_path / "spool.db-wal")
    os.utime(tmp_path / "spool.db-wal", (1, 1))
    spool.append("10")
    assert len(spool) == 11
    assert [text for _, text in spool.oldest(20)] == [str(number) for number in range(11)]
    spool.close()


def test_another_program_that_uses_the_database_too_is_no_damage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "r.db"
    sink = SqliteSink(path)
    write(sink, *range(5))
    other = sqlite3.connect(path, isolation_level=None)
    for statement in (
        "CREATE TABLE notes (text TEXT)",
        "INSERT INTO notes VALUES ('x')",
        "PRAGMA wal_checkpoint(RESTART)",
    ):
        with caplog.at_level(logging.WARNING):
            other.execute(statement)
            write(sink, len(rows(path)))
    other.close()
    sink.close()
    assert rows(path) == list(range(8))
    assert not caplog.text


def test_a_second_damaged_database_does_not_replace_the_first(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    for text in (b"first" * 100, b"second" * 100):
        path.write_bytes(text)
        SqliteSink(path).close()
    assert {one.read_bytes() for one in tmp_path.glob("r.db.damaged-*")} == {b"first" * 100, b"second" * 100}


# --- one writer for each place


KINDS = {"jsonl": "path", "sqlite": "path", "archive": "folder", "video": "folder", "video_file": "path"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_line_on_the_same_place_is_refused_with_who_holds_it(kind: str, tmp_path: Path) -> None:
    tables = {kind: read_table(kind, {KINDS[kind]: "place.mp4"})}
    first = open_sinks(tables, SinkContext(folder=tmp_path))
    with pytest.raises(ConfigError, match=r"place.mp4 is in use by another sink of this process; stop"):
        open_sinks(tables, SinkContext(folder=tmp_path))
    first.close()
    open_sinks(tables, SinkContext(folder=tmp_path)).close()
    assert not [one for one in tmp_path.rglob("*") if "lock" in one.name]


HOLDER = """
import sys
from pathlib import Path
from patchcore_edge_runtime.monitoring.status import LineStatus
from patchcore_edge_runtime.sinks import SinkContext, open_sinks
from patchcore_edge_runtime.sinks.registry import read_table
tables = {name: read_table(name, {key: "place"}) for name, key in [("KIND", "KEY")]}
group = open_sinks(tables, SinkContext(LineStatus("line 3"), folder=Path(sys.argv[1])))
print("open", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("kind", "key"), [("jsonl", "path"), ("mqtt", "spool")])
def test_another_process_is_named_and_leaves_no_lock_when_it_is_killed(kind: str, key: str, tmp_path: Path) -> None:
    pytest.importorskip("paho", reason="needs the package paho-mqtt")
    code = HOLDER.replace("KIND", kind).replace("KEY", key)
    command = [sys.executable, "-c", code, str(tmp_path)]
    tables = {kind: read_table(kind, {key: "place"})}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(
            ConfigError, match=rf"place is in use by line 3 \(process {other.pid} on .+, since \d{{4}}-"
        ):
            open_sinks(tables, SinkContext(folder=tmp_path))
        assert f"process {other.pid}" in str(PlaceLock.holder(tmp_path / "place"))
        other.kill()
    assert PlaceLock.holder(tmp_path / "place") is None
    open_sinks(tables, SinkContext(folder=tmp_path)).close()


@posix
def test_one_file_by_two_names_is_one_place(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").touch()
    (tmp_path / "link.jsonl").symlink_to("r.jsonl")
    tables = {name: read_table(name, {"kind": "jsonl", "path": f"{name}.jsonl"}) for name in ("r", "link")}
    with pytest.raises(ConfigError, match=r"link.jsonl is in use by another sink"):
        open_sinks(tables, SinkContext(folder=tmp_path))


def test_what_a_lock_file_says_is_not_believed_to_be_ours(tmp_path: Path) -> None:
    place = tmp_path / "r.jsonl"
    (tmp_path / ".r.jsonl.lock").write_bytes(b"\x00\x1b[2J" * 1000)
    with PlaceLock(place, "line 3"), pytest.raises(ConfigError, match="in use by another sink"):
        PlaceLock(place)
    with PlaceLock(place):
        (tmp_path / ".r.jsonl.lock").write_bytes(b"\x00\x1b[2J" * 1000)
        with pytest.raises(ConfigError, match="in use by another process"):
            PlaceLock(place)


@posix
def test_a_file_in_a_folder_that_cannot_be_locked_is_written_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("patchcore_edge_runtime.place_lock._take", no_locks)
    tables = {"jsonl": read_table("jsonl", {"path": "r.jsonl"})}
    open_sinks(tables, SinkContext(folder=tmp_path)).close()
    assert "r.jsonl cannot be locked (No locks available)" in caplog.text


# --- videos


def playable(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def test_videos_of_earlier_runs_are_kept_under_numbers(tmp_path: Path) -> None:
    for count in (1, 2, 3):
        sink = VideoSink(tmp_path / "line.mp4")
        for index in range(count):
            sink.write(make_record(index=index, size=(64, 48)))
        sink.close()
    assert [playable(tmp_path / name) for name in ("line.1.mp4", "line.2.mp4", "line.mp4")] == [1, 2, 3]


@posix
def test_a_video_taken_away_is_noticed_and_can_be_played(tmp_path: Path) -> None:
    path = tmp_path / "line.mp4"
    sink = VideoSink(path)
    sink.write(make_record(size=(64, 48)))
    old = moved(path)
    for index in range(2):
        sink.write(make_record(index=index, size=(64, 48)))
    sink.close()
    assert old is not None
    old = old.rename(tmp_path / "old.mp4")
    assert (playable(old), playable(path)) == (1, 2)


def test_a_clock_that_was_set_back_overwrites_no_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import datetime

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr("patchcore_edge_runtime.sinks.video.datetime", Stopped)
    for count in (1, 2):
        sink = VideoSegmentSink(tmp_path, 10.0, 1.0, 1 << 30)
        for index in range(count):
            sink.write(make_record(index=index, size=(64, 48)))
        sink.close()
    assert {path.name: playable(path) for path in tmp_path.iterdir()} == {
        "20260102T030405Z.mp4": 1,
        "20260102T030405Z.1.mp4": 2,
    }
