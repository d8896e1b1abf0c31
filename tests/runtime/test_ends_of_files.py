"""What is at the end of a file when a disk fills up, a power failure cuts it, or a person edits it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from line_records import free_port, make_record, program, wait_for

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.images.files import write_image
from patchcore_edge_runtime.sinks import JsonlSink, SqliteSink, VideoSink
from patchcore_edge_runtime.sinks.check import check_sinks
from patchcore_edge_runtime.sinks.jsonl import JsonlSettings
from patchcore_edge_runtime.sinks.mqtt import MqttSettings, MqttSink
from patchcore_edge_runtime.sinks.spool import Spool
from patchcore_edge_runtime.sinks.sqlite import SqliteSettings
from patchcore_edge_runtime.sinks.video import VideoSegmentSink
from patchcore_edge_runtime.sources.seen_pictures import SeenPictures
from patchcore_edge_runtime.verdict import Verdict

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows deletes and replaces no open file")


def go_on(path: Path) -> list[int]:
    """Numbers of the frames that a file holds after another record."""
    sink = JsonlSink(path, append=True)
    sink.write(make_record(index=99))
    sink.close()
    return [json.loads(line)["frame"] for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize(
    "end", [bytes(100), bytes(3 << 20), b'{"frame": 8, "x": "' + b"y" * (3 << 20), b'{"fra', b"\xff" * 5000]
)
def test_what_a_power_failure_left_of_a_line_is_taken_away_however_long_and_said(
    end: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"frame": 6}\n{"frame": 7}\n' + end)
    assert go_on(path) == [6, 7, 99]
    assert f"part of a line, {len(end)} bytes" in caplog.text


FOREIGN = {
    "notes": b"Notes of the shift\nwithout a last line end",
    "one line": b"Notes of the shift",
    "settings": b'name = "line 3"\n[source]\nuri = "0"\n',
    "a photo": cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8))[1].tobytes(),
    "a manifest": json.dumps({"a": {"b": 1}}, indent=2).encode(),
    "a list": b"[1, 2]\n",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_something_else_is_not_written_to_nor_cut(kind: str, tmp_path: Path) -> None:
    """``--results line.toml`` left nothing of the line's settings."""
    path = tmp_path / "r.jsonl"
    path.write_bytes(FOREIGN[kind])
    with pytest.raises(ConfigError, match="holds no results"):
        JsonlSink(path, append=True)
    with pytest.raises(ConfigError, match="holds no results"):
        check_sinks({"jsonl": JsonlSettings(path=path)}, tmp_path)
    assert path.read_bytes() == FOREIGN[kind]
    path.unlink()
    # While a line writes there, a copy over its results is no other thing.
    sink = JsonlSink(path, append=True)
    path.write_bytes(FOREIGN[kind])
    os.utime(path, (1, 1))
    with pytest.raises(ConfigError, match="holds no results"):
        sink.write(make_record(index=98))
    assert path.read_bytes() == FOREIGN[kind]
    path.write_bytes(b"")
    sink.write(make_record(index=99))
    sink.close()
    assert [json.loads(line)["frame"] for line in path.read_bytes().splitlines()] == [99]


@pytest.mark.parametrize("name", ["line.toml", "photo.png", "model.bin", "r.jsonl"])
def test_a_file_of_something_else_is_not_set_aside_for_a_database(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FOREIGN["settings"] * 50)
    tables = {
        "sqlite": SqliteSettings(path=path),
        "mqtt": MqttSettings(host="127.0.0.1", spool=path),
    }
    for kind, table in tables.items():
        with pytest.raises(ConfigError, match="is no database"):
            check_sinks({kind: table}, tmp_path)
    for make in (lambda: SqliteSink(path), lambda: Spool(path, 5), lambda: SeenPictures(tmp_path, path, "", 10)):
        with pytest.raises(ConfigError, match="is no database"):
            make()
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {name: FOREIGN["settings"] * 50}


@pytest.mark.parametrize(
    "rest", [b"", bytes(5000), b'{"fra', bytes(5000) + b'{"frame": 7}\n', b'{"frame": 7}\n' + b"\xff" * 50]
)
def test_what_damage_leaves_of_results_is_gone_on_with(rest: bytes, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(rest)
    sink = JsonlSink(path, append=True)
    sink.write(make_record(index=99))
    sink.close()
    assert json.loads(path.read_bytes().splitlines()[-1])["frame"] == 99


def test_a_whole_line_that_lacks_its_end_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"frame": 6}\n{"frame": 7}')
    assert go_on(path) == [6, 7, 99]
    assert caplog.text == ""


@pytest.mark.parametrize("change", ["cut", "one byte", "zeros", "noise", "no end", "edited"])
def test_a_results_file_that_somebody_changes_while_it_is_written_to_loses_no_later_record(
    change: str, tmp_path: Path
) -> None:
    path = tmp_path / "r.jsonl"
    sink = JsonlSink(path, append=True)
    for index in range(6):
        sink.write(make_record(index=index))
    data = path.read_bytes()
    # Within the fourth line, however long the lines came out.
    half = sum(map(len, data.splitlines(keepends=True)[:3])) + 9
    changed = {
        "cut": data[:half],
        "one byte": data[:-1],
        "zeros": data[:half] + bytes(len(data) - half),
        "noise": data + b"\xff" * 5000,
        "no end": data + b'{"frame": 7, "x": "',
        "edited": b'{"frame": 50}',
    }[change]
    # In place, as tools do that keep a file's number.
    with path.open("r+b") as file:
        file.write(changed)
        file.truncate()
    # Clocks of file systems tick every few milliseconds.
    os.utime(path, ns=(0, 1))
    for index in range(90, 100):
        sink.write(make_record(index=index))
    sink.close()
    frames = [json.loads(line)["frame"] for line in path.read_bytes().splitlines()]
    kept = {"cut": [0, 1, 2], "zeros": [0, 1, 2], "edited": [50]}.get(change, list(range(6)))
    assert frames == kept + list(range(90, 100))


def test_a_database_with_a_hole_within_is_set_aside_before_rows_go_into_it(tmp_path: Path) -> None:
    """They would go to its end, and nobody could read it through the hole."""
    path = tmp_path / "r.db"
    sink = SqliteSink(path)
    for index in range(60):
        sink.write(make_record(index=index))
    sink.close()
    data = path.read_bytes()
    third = len(data) // 3
    path.write_bytes(data[:third] + bytes(third) + data[2 * third :])
    sink = SqliteSink(path)
    for index in range(90, 95):
        sink.write(make_record(index=index))
    sink.close()
    database = sqlite3.connect(path)
    assert [row[0] for row in database.execute("SELECT frame FROM results ORDER BY id")] == list(range(90, 95))
    database.close()
    assert len(list(tmp_path.glob("r.db.damaged-*"))) == 1


NO_INODES = """
import sqlite3, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from line_records import make_record
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.sinks import SqliteSink
folder = Path(sys.argv[2])
sink = SqliteSink(folder / "r.db")
sink.write(make_record(index=0))
sink.close()
fillers = []
try:
    for number in range(100):
        (folder / f"{number}").touch()
        fillers.append(folder / f"{number}")
except OSError:
    pass
assert len(fillers) < 100
sink = SqliteSink(folder / "r.db")
try:
    sink.write(make_record(index=1))
    raise SystemExit("it was claimed as written")
except ConfigError as error:
    assert "the disk is full" in str(error), error
for filler in fillers:
    filler.unlink()
sink.write(make_record(index=2))
sink.close()
print([row[0] for row in sqlite3.connect(folder / "r.db").execute("SELECT frame FROM results")])
"""


@posix
def test_a_disk_that_takes_no_more_files_keeps_no_line_from_starting_and_no_record_is_claimed(tmp_path: Path) -> None:
    """The archive's many small pictures use up a disk's inodes; the line was not started again after that."""
    unshare = [program("unshare"), "--user", "--map-root-user", "--mount", "sh", "-c"]
    mounted = 'mount -t tmpfs -o nr_inodes=8 none "$0" && exec "$@"'
    work = [sys.executable, "-c", NO_INODES, str(Path(__file__).parents[1]), str(tmp_path)]
    done = subprocess.run([*unshare, mounted, str(tmp_path), *work], capture_output=True, text=True, check=False)
    if "ermission denied" in done.stderr or "not permitted" in done.stderr:
        pytest.skip("needs the right to use unshare")
    assert (done.returncode, done.stdout) == (0, "[0, 2]\n"), done.stderr


def test_of_a_picture_that_does_not_fit_on_the_disk_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        write_bytes(self, data[: len(data) // 2])
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ConfigError, match="make room"):
        write_image(tmp_path / "new.png", np.zeros((40, 40, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def playable(path: Path) -> int:
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


WRITES = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from line_records import make_record
from patchcore_edge_runtime.sinks import VideoSink
sink = VideoSink(Path(sys.argv[1]), fps=10)
for index in range(50):
    sink.write(make_record(index=index, size=(320, 240)))
os._exit(0)
"""


def test_a_video_can_be_played_up_to_its_last_seconds_though_its_writer_was_killed(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs pip install 'patchcore-edge-runtime[video]'")
    path, tests = tmp_path / "line.mp4", str(Path(__file__).resolve().parents[1])
    subprocess.run([sys.executable, "-c", WRITES, str(path), tests], check=True)
    # FFmpeg before 7.1 writes no such files.
    assert playable(path) >= 20 or b"moof" not in path.read_bytes()


@posix
@pytest.mark.parametrize("pieces", [False, True])
def test_a_video_goes_on_when_its_folder_was_taken_away(pieces: bool, tmp_path: Path) -> None:
    folder = tmp_path / "v"
    sink = VideoSegmentSink(folder, 10.0, 1.0, 1 << 30) if pieces else VideoSink(folder / "line.mp4")
    sink.write(make_record(size=(64, 48)))
    shutil.rmtree(folder)
    for index in range(3):
        sink.write(make_record(index=index, size=(64, 48)))
    sink.close()
    (path,) = folder.iterdir()
    assert playable(path) == 3


@posix
def test_a_video_whose_place_another_file_has_taken_goes_on_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "line.mp4"
    sink = VideoSink(path)
    sink.write(make_record(size=(64, 48)))
    other = tmp_path / "other"
    other.write_bytes(b"of somebody else")
    other.replace(path)
    for index in range(3):
        sink.write(make_record(index=index, size=(64, 48)))
    sink.close()
    assert playable(path) == 3
    assert (tmp_path / "line.1.mp4").read_bytes() == b"of somebody else"


def test_what_a_broker_took_is_not_sent_again_while_the_spool_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk, where nothing can be taken out of a database either."""
    pytest.importorskip("paho.mqtt", reason="needs pip install 'patchcore-edge-runtime[mqtt]'")
    sent: list[int] = []

    def deliver(_sink: MqttSink, text: str) -> bool:
        sent.append(json.loads(text)["frame"])
        return True

    monkeypatch.setattr(MqttSink, "_deliver", deliver)
    sink = MqttSink(MqttSettings(port=free_port(), spool=Path("s.db"), flush_seconds=1), tmp_path)
    remove, refused = sink._spool.remove, [0]

    def full(number: int) -> None:
        if refused[0] < 3:
            refused[0] += 1
            raise ConfigError("The disk is full; make room.")
        remove(number)

    monkeypatch.setattr(sink._spool, "remove", full)
    for index in range(4):
        sink.write(make_record(Verdict.OK, index))
    sink._connected = True
    wait_for(lambda: sink.pending == 0)
    sink._connected = False
    sink.close()
    assert refused == [3]
    assert sent == [0, 1, 2, 3]
