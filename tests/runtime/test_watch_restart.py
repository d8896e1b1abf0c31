"""A watched folder over a restart: what came meanwhile is inspected once, what was there before never."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import good_part, run_cli
from line_records import wait_for
from mounts import device_of

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.images.files import encode_image
from patchcore_edge_runtime.place_lock import PlaceLock
from patchcore_edge_runtime.sources import WatchedFolder

RUNTIME = "patchcore_edge_runtime"


def put(folder: Path, *numbers: int) -> list[str]:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        (folder / f"{number}.part").write_bytes(encode_image(good_part(number), ".png"))
        (folder / f"{number}.part").rename(folder / f"{number}.png")
    return [f"{number}.png" for number in numbers]


def run(folder: Path, state: Path | None, until: int = 0, work: Callable[[], object] = lambda: None) -> list[str]:
    """One run of a watch: the names of what it gives, by the time that a last picture has come and been given."""
    source = WatchedFolder(folder, poll_seconds=0.01, settle_seconds=0.3, state=state)
    work()
    (end,) = put(folder, 900 + until)
    names = []
    for frame in source:
        names.append(Path(frame.name).name)
        if end in names:
            source.stop()
    source.close()
    return sorted(set(names) - {end}) if len(names) == len(set(names)) else names


def test_what_comes_while_the_line_is_restarted_is_inspected_once_and_what_was_there_before_never(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, state = tmp_path / "in", tmp_path / "state" / "line.watched.db"
    put(folder, 1, 2)
    with caplog.at_level(logging.WARNING):
        assert run(folder, state, 0, lambda: put(folder, 3)) == ["3.png"]
    assert "2 pictures that are in" in caplog.text
    assert str(state) in caplog.text
    put(folder, 4, 5)
    with caplog.at_level(logging.WARNING):
        assert run(folder, state, 1, lambda: put(folder, 6)) == ["4.png", "5.png", "6.png"]
    assert "2 pictures came into" in caplog.text
    assert run(folder, state, 2) == []


def test_a_renamed_a_rewritten_and_a_removed_picture_are_told_apart_over_a_restart(tmp_path: Path) -> None:
    folder, state = tmp_path / "in", tmp_path / "line.watched.db"
    put(folder, 1, 2, 3)
    assert run(folder, state, 0, lambda: put(folder, 4, 5)) == ["4.png", "5.png"]
    (folder / "1.png").rename(folder / "1 sorted.png")
    (folder / "4.png").rename(folder / "4 sorted.png")
    (folder / "2.png").unlink()
    (folder / "5.png").write_bytes(encode_image(good_part(50), ".png"))
    assert run(folder, state, 1) == ["5.png"]


def test_a_picture_that_comes_back_under_another_number_of_its_disk_is_not_inspected_again(tmp_path: Path) -> None:
    folder, state = tmp_path / "in", tmp_path / "line.watched.db"
    put(folder, 1)
    assert run(folder, state, 0, lambda: put(folder, 2)) == ["2.png"]
    # As after a share was mounted anew: same bytes and times, other numbers.
    for file in list(folder.iterdir()):
        facts, data = file.stat(), file.read_bytes()
        file.unlink()
        file.with_suffix(".tmp").write_bytes(data)
        os.utime(file.with_suffix(".tmp"), ns=(facts.st_atime_ns, facts.st_mtime_ns))
        file.with_suffix(".tmp").rename(file)
    renumbered = sqlite3.connect(state)
    rows = renumbered.execute("SELECT name, facts FROM pictures").fetchall()
    for name, facts in rows:
        changed, size, device, *rest = map(int, facts.split())
        row = " ".join(map(str, (changed, size, device + 1, *rest)))
        renumbered.execute("UPDATE pictures SET facts = ? WHERE name = ?", (row, name))
    renumbered.commit()
    renumbered.close()
    assert run(folder, state, 1) == []


def test_a_picture_in_hand_when_the_process_is_killed_is_inspected_by_the_next_one(tmp_path: Path) -> None:
    folder, state = tmp_path / "in", tmp_path / "line.watched.db"
    put(folder, 1)
    source = WatchedFolder(folder, poll_seconds=0.01, state=state)
    put(folder, 2, 3)
    frames = iter(source)
    first = Path(next(frames).name).name
    second = Path(next(frames).name).name
    assert {first, second} == {"2.png", "3.png"}
    # Never asked for another one: nobody knows whether the second one was recorded.
    source.close()
    assert run(folder, state, 1) == [second]


def test_without_a_file_a_restart_leaves_alone_what_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    put(folder, 1)
    assert run(folder, None, 0, lambda: put(folder, 2)) == ["2.png"]
    put(folder, 3)
    assert run(folder, None, 1) == []


@pytest.mark.parametrize("damage", ["noise", "cut", "emptied", "something else", "nonsense in it"])
def test_a_damaged_state_file_is_set_aside_and_what_is_there_is_left_alone(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, state = tmp_path / "in", tmp_path / "line.watched.db"
    put(folder, *range(20))
    run(folder, state, 0, lambda: put(folder, 30))
    whole = state.read_bytes()
    if damage == "noise":
        state.write_bytes(bytes(range(256)) * 100)
    elif damage == "cut":
        state.write_bytes(whole[: len(whole) // 2])
    elif damage == "emptied":
        state.write_bytes(b"")
    else:
        other = sqlite3.connect(state)
        if damage == "something else":
            other.executescript("DROP TABLE pictures; DROP TABLE watched; CREATE TABLE watched (a); ")
        other.execute(
            "INSERT INTO watched SELECT 1" if damage == "something else" else "UPDATE pictures SET facts = 'x'"
        )
        other.commit()
        other.close()
    put(folder, 31)
    with caplog.at_level(logging.WARNING):
        assert run(folder, state, 1, lambda: put(folder, 32)) == ["32.png"]
    assert "23 pictures that are in" in caplog.text
    set_aside = [file for file in tmp_path.iterdir() if ".damaged-" in file.name]
    assert bool(set_aside) == (damage != "emptied")
    put(folder, 33)
    assert run(folder, state, 2) == ["33.png"]


def test_a_state_file_taken_away_or_damaged_while_the_line_runs_is_written_anew_whole(tmp_path: Path) -> None:
    folder, state = tmp_path / "in", tmp_path / "line.watched.db"
    put(folder, 1, 2, 3)

    def take_away() -> None:
        state.unlink()
        put(folder, 4)

    assert run(folder, state, 0, take_away) == ["4.png"]
    put(folder, 5)
    assert run(folder, state, 1) == ["5.png"]


def test_a_state_file_of_another_folder_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = tmp_path / "line.watched.db"
    put(tmp_path / "one", 1)
    run(tmp_path / "one", state)
    put(tmp_path / "two", 2)
    with caplog.at_level(logging.WARNING):
        assert run(tmp_path / "two", state, 0, lambda: put(tmp_path / "two", 3)) == ["3.png"]
    assert "is of another folder" in caplog.text


def test_a_share_mounted_late_at_a_restart_brings_what_came_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, share, state = tmp_path / "in", tmp_path / "share", tmp_path / "line.watched.db"
    put(share, 1, 2)
    share.rename(folder)
    run(folder, state)
    folder.rename(share)
    for file in list(share.iterdir()):
        file.unlink()
    put(share, 3, 4)
    folder.mkdir()
    device = device_of(folder, monkeypatch)

    def mount() -> None:
        folder.rename(tmp_path / "mount point")
        device[0] = 2
        share.rename(folder)

    assert run(folder, state, 1, mount) == ["3.png", "4.png"]


def test_an_empty_folder_that_turns_out_to_be_a_mount_point_makes_no_picture_of_the_share_new(tmp_path: Path) -> None:
    folder, state = tmp_path / "in", tmp_path / "line.watched.db"
    folder.mkdir()
    WatchedFolder(folder, state=state).close()
    put(folder, 1)
    assert run(folder, state) == ["1.png"], "an empty folder is one, too"
    state.unlink()
    for file in folder.iterdir():
        file.unlink()
    WatchedFolder(folder, state=state).close()
    other = sqlite3.connect(state)
    other.execute("UPDATE watched SET device = '1'")
    other.commit()
    other.close()
    put(folder, 1, 2, 3)
    assert run(folder, state, 1, lambda: put(folder, 4)) == ["4.png"]


def test_the_state_is_bounded_and_a_picture_older_than_it_remembers_is_an_error(tmp_path: Path) -> None:
    folder, state = tmp_path / "in", tmp_path / "line.watched.db"
    put(folder, 0)
    source = WatchedFolder(folder, poll_seconds=0.01, remembered=10, state=state)
    names = []
    put(folder, 1)
    for number, frame in enumerate(source, 1):
        names.append(Path(frame.name).name)
        (folder / names[-1]).rename(tmp_path / names[-1])
        if number == 30:
            source.stop()
        else:
            put(folder, number + 1)
    source.close()
    rows = sqlite3.connect(state)
    assert rows.execute("SELECT count(*) FROM pictures").fetchone()[0] <= 16
    rows.close()
    (tmp_path / "2.png").rename(folder / "2.png")
    again = WatchedFolder(folder, poll_seconds=0.01, remembered=10, state=state)
    frame = next(iter(again))
    again.close()
    assert "may have been inspected long ago" in frame.error


def test_a_second_line_on_the_same_state_is_refused_with_who_holds_it(tmp_path: Path) -> None:
    put(tmp_path / "in", 1)
    state = tmp_path / "line.watched.db"
    with PlaceLock(state, "line 3"), pytest.raises(ConfigError, match="in use by"):
        WatchedFolder(tmp_path / "in", state=state)
    WatchedFolder(tmp_path / "in", state=state).close()


LINE = """
name = "Line 3"
bundle = '{bundle}'

[source]
uri = "watch:in"
settle = 0.2

[sinks.jsonl]
path = "results.jsonl"
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM")
def test_a_line_that_is_ended_and_started_again_inspects_each_picture_once(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "line.toml").write_text(LINE.format(bundle=tiny_bundle))
    put(tmp_path / "in", 0)
    results = tmp_path / "results.jsonl"

    def judged() -> list[str]:
        lines = results.read_text().splitlines() if results.exists() else []
        return [Path(json.loads(line)["name"]).name for line in lines]

    def all_judged() -> bool:
        return set(judged()) >= set(expected)

    expected: list[str] = []
    for life in range(3):
        words = [sys.executable, "-m", RUNTIME, "run", "-c", str(tmp_path / "line.toml")]
        line = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        try:
            # The first start knows nothing yet; from then on whatever comes counts.
            wait_for((tmp_path / "line-3.watched.db").exists, 60)
            if not life:
                wait_for((tmp_path / ".results.jsonl.lock").exists, 60)
            expected += put(tmp_path / "in", 10 * life + 1, 10 * life + 2)
            wait_for(all_judged, 60)
        finally:
            line.send_signal(signal.SIGTERM)
            line.communicate(timeout=60)
        expected += put(tmp_path / "in", 10 * life + 3)
    assert sorted(judged()) == sorted(expected[:-1])


def test_check_says_who_has_the_state_and_refuses_one_that_cannot_be_written(tiny_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "line.toml"
    put(tmp_path / "in", 1)
    file.write_text(LINE.format(bundle=tiny_bundle))
    with PlaceLock(tmp_path / "line-3.watched.db", "line 3"):
        assert "in use by" in run_cli("check", "-c", file, program=RUNTIME).stderr
    (tmp_path / "taken").mkdir()
    file.write_text(LINE.format(bundle=tiny_bundle).replace("settle", 'state = "taken"\nsettle'))
    refused = run_cli("check", "-c", file, program=RUNTIME)
    assert (refused.returncode, "[source] state" in refused.stderr) == (2, True)
    file.write_text(LINE.format(bundle=tiny_bundle).replace("watch:in", "in").replace("settle", 'state = "s"\nsettle'))
    refused = run_cli("check", "-c", file, program=RUNTIME)
    assert (refused.returncode, "watched folder" in refused.stderr) == (2, True)
