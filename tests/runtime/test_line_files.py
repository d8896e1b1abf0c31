"""What a line and ``predict`` write, from start to end: checked before, alone there, nothing of an earlier run lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from conftest import good_part, run_cli
from line_records import free_port
from mjpeg_server import MjpegServer

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.place_lock import PlaceLock
from patchcore_edge_runtime.sinks.check import check_sinks, shared_places
from patchcore_edge_runtime.sinks.registry import read_table
from patchcore_edge_runtime.system import stop_signals

RUNTIME = "patchcore_edge_runtime"
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP and no terminals to close")

# The terminal that is its standard input becomes its own, as in a login shell.
IN_TERMINAL = """
import fcntl, signal, termios
from patchcore_edge_runtime.cli import main
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may have been started with nohup
main()
"""


def lines(path: Path) -> list[int]:
    return [json.loads(line)["frame"] for line in path.read_bytes().splitlines()] if path.is_file() else []


def wait_for_lines(path: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while len(lines(path)) < count:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)


def frames_of(video: Path) -> int:
    capture = cv2.VideoCapture(str(video))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


@posix
def test_a_terminal_that_is_closed_ends_the_line_like_sigterm_and_a_second_line_is_refused(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    camera = MjpegServer(good_part, pause=0.2)  # as fast as a busy machine writes video: none is dropped
    config, results = tmp_path / "line.toml", tmp_path / "r.jsonl"
    config.write_text(
        f"name = 'line 3'\nbundle = '{tiny_bundle}'\n[source]\nuri = '{camera.url}'\n"
        "[sinks.jsonl]\npath = 'r.jsonl'\n[sinks.video_file]\npath = 'v.mp4'\n"
    )
    master, terminal = os.openpty()
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), terminal)
    command = [sys.executable, "-c", IN_TERMINAL, "run", "-c", str(config)]
    with subprocess.Popen(command, start_new_session=True, **pipes) as line:
        os.close(terminal)
        wait_for_lines(results, 5, line)
        second = run_cli("run", "-c", config, program=RUNTIME)
        assert second.returncode == 2
        assert f"r.jsonl is in use by line 3 (process {line.pid} on {socket.gethostname()}, since" in second.stderr
        noted = run_cli("check", "-c", config, program=RUNTIME)
        assert noted.returncode == 0, "a line may be checked while it runs"
        assert noted.stderr.count(f"in use by line 3 (process {line.pid}") == 2
        os.close(master)
        try:
            line.wait(60)
        finally:
            line.kill()
    camera.stop()
    written = lines(results)
    assert written == list(range(len(written)))
    assert frames_of(tmp_path / "v.mp4") == len(written), "a video that was not finished cannot be played"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["line.toml", "r.jsonl", "v.mp4"]


@posix
def test_a_line_started_with_nohup_goes_on() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals(lambda: pytest.fail("stopped")):
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


# --- check


def in_a_file(folder: Path) -> dict[str, str]:
    (folder / "file").touch()
    return {"kind": "jsonl", "path": "file/below/r.jsonl"}


def on_a_folder(folder: Path) -> dict[str, str]:
    (folder / "r.db").mkdir()
    return {"kind": "sqlite", "path": "r.db"}


def folder_is_a_file(folder: Path) -> dict[str, str]:
    (folder / "ng").touch()
    return {"kind": "archive", "folder": "ng"}


def locked_folder(folder: Path) -> dict[str, str]:
    if os.name != "posix" or os.geteuid() == 0:
        # Nobody keeps root from writing, but the kernel's own file systems.
        if not Path("/proc/self").is_dir():
            pytest.skip("needs /proc, or a user that is not root")
        return {"kind": "video", "folder": "/proc/self/video"}
    (folder / "locked").mkdir(mode=0o500)
    return {"kind": "video", "folder": "locked/video"}


def spool_on_a_folder(folder: Path) -> dict[str, str]:
    (folder / "spool.db").mkdir()
    return {"kind": "mqtt", "spool": "spool.db"}


def no_authority(_: Path) -> dict[str, str]:
    return {"kind": "mqtt", "ca_file": "missing.pem"}


def no_secret(_: Path) -> dict[str, str]:
    return {"kind": "webhook", "url": "http://127.0.0.1/", "token_env": "PATCHCORE_TEST_NO_SUCH"}


def foreign_address(_: Path) -> dict[str, object]:
    return {"kind": "http", "host": "192.0.2.1", "token_env": "PATH"}


@pytest.mark.parametrize(
    "make",
    [
        in_a_file,
        on_a_folder,
        folder_is_a_file,
        locked_folder,
        spool_on_a_folder,
        no_authority,
        no_secret,
        foreign_address,
    ],
)
def test_check_refuses_a_sink_that_could_not_write(make: Callable[[Path], dict[str, object]], tmp_path: Path) -> None:
    table = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=r"^\[sinks\.mine\]: .*\.$"):
        check_sinks({"mine": read_table("mine", table)}, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_check_leaves_nothing_behind_where_all_is_well(tmp_path: Path) -> None:
    (tmp_path / "there.jsonl").write_text('{"frame": 0}\n')
    tables = {
        "there": {"kind": "jsonl", "path": "there.jsonl"},
        "jsonl": {"path": "new/below/r.jsonl"},
        "sqlite": {"path": "r.db"},
        "archive": {"folder": "new/ng"},
        "http": {"port": free_port()},
    }
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert check_sinks({name: read_table(name, table) for name, table in tables.items()}, tmp_path) == []
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_check_refuses_two_sinks_in_one_place_and_notes_what_is_taken(tmp_path: Path) -> None:
    tables = {name: read_table(name, {"kind": "jsonl", "path": "r.jsonl"}) for name in ("one", "two")}
    faults = shared_places((f"[sinks.{name}]", table, tmp_path) for name, table in tables.items())
    assert faults == [f"[sinks.two] and [sinks.one] both have {tmp_path / 'r.jsonl'}; give each a place of its own"]
    with socket.create_server(("127.0.0.1", 0)) as taken, PlaceLock(tmp_path / "r.jsonl", "line 3"):
        http = read_table("http", {"port": taken.getsockname()[1]})
        notes = check_sinks({"one": tables["one"], "http": http}, tmp_path)
    assert len(notes) == 2
    assert all("a second line there is refused" in note for note in notes)


def test_the_command_check_looks_at_the_sinks(tiny_bundle: Path, tmp_path: Path) -> None:
    config = tmp_path / "line.toml"
    config.write_text(f"bundle = '{tiny_bundle}'\n[source]\nuri = '0'\n[sinks.archive]\nfolder = 'line.toml'\n")
    done = run_cli("check", "-c", config, program=RUNTIME)
    assert done.returncode == 2
    assert "[sinks.archive]: " in done.stderr


# --- earlier runs


def test_two_runs_of_a_line_keep_the_results_and_the_video_of_both(
    tiny_bundle: Path, tiny_data: Path, tmp_path: Path
) -> None:
    words = ["--results", tmp_path / "r.jsonl", "--save-video", tmp_path / "v.mp4", "--save-ng", tmp_path / "ng"]
    for kind in ("good", "scratch"):
        done = run_cli("run", "-m", tiny_bundle, "-s", tiny_data / "test" / kind, *words, program=RUNTIME)
        assert done.returncode == 0, done.stderr
    assert lines(tmp_path / "r.jsonl") == [*range(6), *range(6)]
    assert [frames_of(tmp_path / name) for name in ("v.1.mp4", "v.mp4")] == [6, 6]


def test_predict_refuses_a_folder_with_earlier_results_and_replaces_them_when_told(
    tiny_bundle: Path, tiny_data: Path, tmp_path: Path
) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    shutil.copytree(tiny_data / "test" / "good", pictures)
    words = ("predict", "-m", tiny_bundle, "-o", out, "-s")
    assert run_cli(*words, pictures, program=RUNTIME).returncode == 0
    # The user's own, which is called like one of ours.
    (out / "000042_mine.png").write_bytes(b"mine")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for path in sorted(pictures.iterdir())[2:]:
        path.rename(path.with_name(f"other_{path.name}"))
    done = run_cli(*words, pictures, program=RUNTIME)
    assert done.returncode == 2
    assert "holds the results of an earlier run; choose another folder, or replace them with --overwrite" in done.stderr
    done = run_cli(*words, tmp_path / "no pictures", "--overwrite", program=RUNTIME)
    assert done.returncode != 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before, "a run that fails replaces nothing"
    done = run_cli(*words, pictures, "--overwrite", program=RUNTIME)
    assert done.returncode == 0, done.stderr
    names = [f"{number:06d}_{path.stem}.png" for number, path in enumerate(sorted(pictures.iterdir()))]
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, "000042_mine.png", "results.jsonl"])
    assert lines(out / "results.jsonl") == list(range(6))


def test_earlier_results_cannot_make_predict_remove_what_is_elsewhere(
    tiny_bundle: Path, tiny_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "000000_kept.png").write_bytes(b"kept")
    facts = [{"frame": 0, "name": "../kept"}, {"frame": "../0", "name": "x"}, {"frame": 0, "name": "/../../kept"}, 7]
    (out / "results.jsonl").write_text("\n".join(json.dumps(one) for one in facts) + "\nnonsense")
    words = ("predict", "-m", tiny_bundle, "-o", out, "-s", tiny_data / "test" / "good", "--overwrite")
    done = run_cli(*words, program=RUNTIME)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "000000_kept.png").read_bytes() == b"kept"
    assert lines(out / "results.jsonl") == list(range(6))
