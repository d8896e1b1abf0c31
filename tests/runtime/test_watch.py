"""A watched folder beside programs that create, delete, rename and write slowly: each picture once, none anew."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest
from conftest import good_part
from line_records import wait_for
from mounts import device_of

from patchcore_edge_runtime.sources import WatchedFolder
from patchcore_edge_runtime.sources.settling import Settling

OLD = 3000
CHURN = """
import sys, time, itertools, pathlib
folder, data = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).read_bytes()
for number in itertools.count():
    for kind in ("png", "tmp"):
        (folder / f"churn{number % 40}.{kind}").write_bytes(data[:100])
        (folder / f"churn{(number + 20) % 40}.{kind}").unlink(missing_ok=True)
    time.sleep(0.0005)
"""


class Taken:
    """What a watched folder gives, taken in a thread of its own."""

    def __init__(self, source: WatchedFolder) -> None:
        self.source, self.names, self.errors = source, list[str](), list[str]()
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        for frame in self.source:
            (self.errors if frame.error else self.names).append(Path(frame.name).name)

    def stop(self) -> None:
        self.source.stop()
        self._thread.join()


@pytest.fixture
def watch() -> Iterator[Callable[..., Taken]]:
    started: list[Taken] = []

    def start(folder: Path, settle: float = 0.5) -> Taken:
        started.append(Taken(WatchedFolder(folder, poll_seconds=0.02, settle_seconds=settle)))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def data(seed: int = 0, kind: str = ".png") -> bytes:
    return cv2.imencode(kind, good_part(seed))[1].tobytes()


def settled(taken: Taken, looks: float = 0.4) -> None:
    """Time for some looks, with a picture that comes in the end, so that they have been."""
    time.sleep(looks)
    before = len(taken.names)
    (taken.source._folder / f"mark{before}.png").write_bytes(data(99))
    wait_for(lambda: f"mark{before}.png" in taken.names)


def marks(taken: Taken) -> list[str]:
    return [name for name in taken.names if not name.startswith("mark")]


def test_beside_a_program_that_creates_and_deletes_no_old_picture_is_judged_and_each_new_one_once(
    tmp_path: Path, watch: Callable[..., Taken]
) -> None:
    folder, one = tmp_path / "in", tmp_path / "one.png"
    folder.mkdir()
    one.write_bytes(data())
    for number in range(OLD):
        os.link(one, folder / f"old{number}.png") if number % 2 else (folder / f"old{number}.png").write_bytes(b"x")
    taken = watch(folder, settle=60)
    churn = subprocess.Popen([sys.executable, "-c", CHURN, str(folder), str(one)])
    try:
        for number in range(8):
            (folder / f"part{number}.tmp").write_bytes(data(number))
            (folder / f"part{number}.tmp").rename(folder / f"part{number}.png")
            time.sleep(0.1)
        wait_for(lambda: len(taken.names) >= 8, 40)
    finally:
        churn.kill()
        churn.wait()
    time.sleep(0.3)
    assert sorted(taken.names) == [f"part{number}.png" for number in range(8)]
    assert not [name for name in taken.errors if not name.startswith("churn")]


def test_a_picture_that_only_gets_another_name_is_not_judged_again(tmp_path: Path, watch: Callable[..., Taken]) -> None:
    (tmp_path / "old.png").write_bytes(data(1))
    taken = watch(tmp_path)
    (tmp_path / "_writing.png").write_bytes(data(2))
    wait_for(lambda: taken.names == ["_writing.png"])
    (tmp_path / "_writing.png").rename(tmp_path / "2.png")
    (tmp_path / "old.png").rename(tmp_path / "sorted.png")
    settled(taken)
    assert marks(taken) == ["_writing.png"]


@pytest.mark.parametrize("way", ["renamed into place", "written in place"])
def test_a_new_picture_with_the_name_size_and_time_of_the_last_is_judged(
    way: str, tmp_path: Path, watch: Callable[..., Taken]
) -> None:
    taken, path = watch(tmp_path), tmp_path / "current.bmp"
    path.write_bytes(data(1, ".bmp"))
    wait_for(lambda: taken.names == ["current.bmp"])
    facts = path.stat()
    for number in (2, 3):
        target = tmp_path / "new.part" if way == "renamed into place" else path
        target.write_bytes(data(number, ".bmp"))
        os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        if target != path:
            target.rename(path)
        assert (path.stat().st_mtime_ns, path.stat().st_size) == (facts.st_mtime_ns, facts.st_size)
        wait_for(lambda number=number: len(taken.names) == number)
    # Touched by a virus scanner or chmod, it is the same picture.
    path.chmod(0o600)
    settled(taken)
    assert marks(taken) == ["current.bmp"] * 3


def test_an_old_picture_that_is_replaced_is_judged_and_one_whose_rights_change_is_not(
    tmp_path: Path, watch: Callable[..., Taken]
) -> None:
    for name in ("a.bmp", "b.bmp"):
        (tmp_path / name).write_bytes(data(1, ".bmp"))
    facts = (tmp_path / "a.bmp").stat()
    taken = watch(tmp_path)
    (tmp_path / "b.bmp").chmod(0o600)
    (tmp_path / "new.part").write_bytes(data(2, ".bmp"))
    os.utime(tmp_path / "new.part", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    (tmp_path / "new.part").rename(tmp_path / "a.bmp")
    settled(taken)
    assert marks(taken) == ["a.bmp"]


@pytest.mark.parametrize("kind", [".png", ".jpg", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("reserved", [False, True])
def test_a_slow_writer_that_pauses_half_way_gives_one_record_of_the_whole_picture(
    kind: str, reserved: bool, tmp_path: Path, watch: Callable[..., Taken]
) -> None:
    taken, whole = watch(tmp_path, 5.0), data(1, kind)
    with (tmp_path / f"a{kind}").open("wb") as file:
        if reserved:
            file.truncate(len(whole))
        file.write(whole[: len(whole) // 2])
        file.flush()
        time.sleep(0.5)
        assert (taken.names, taken.errors) == ([], [])
        file.write(whole[len(whole) // 2 :])
    settled(taken)
    assert (marks(taken), taken.errors) == ([f"a{kind}"], [])


def test_a_reserved_bitmap_of_a_part_before_black_is_waited_for(tmp_path: Path, watch: Callable[..., Taken]) -> None:
    image = good_part(1)
    image[:40] = 0
    whole = cv2.imencode(".bmp", image)[1].tobytes()
    taken = watch(tmp_path, 1.0)
    # Its rest, black in the end, could be just what was reserved: it is waited for.
    (tmp_path / "a.bmp").write_bytes(whole)
    time.sleep(0.4)
    assert taken.names == []
    wait_for(lambda: taken.names == ["a.bmp"])
    assert taken.errors == []


def test_a_share_that_is_mounted_after_the_start_brings_only_what_comes_then(
    tmp_path: Path, watch: Callable[..., Taken], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, share = tmp_path / "in", tmp_path / "share"
    folder.mkdir()
    share.mkdir()
    for number in range(20):
        (share / f"old{number}.png").write_bytes(data(number))
    device = device_of(folder, monkeypatch)
    with caplog.at_level(logging.WARNING):
        taken = watch(folder)
        time.sleep(0.1)
        folder.rename(tmp_path / "mount point")
        device[0] = 2
        share.rename(folder)
        wait_for(lambda: "was mounted, with 20 pictures" in caplog.text)
        settled(taken)
    assert marks(taken) == []


def test_what_was_there_before_the_start_is_left_alone_and_that_is_said(
    tmp_path: Path, watch: Callable[..., Taken], caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(data(number))
    with caplog.at_level(logging.WARNING):
        taken = watch(tmp_path)
        settled(taken)
    assert marks(taken) == []
    assert "3 pictures that are in" in caplog.text


def test_a_file_that_went_before_it_was_complete_gets_all_its_time_when_it_comes_back() -> None:
    settling, stamp = Settling(3600.0), (100, 1)
    assert not settling.is_over("gone.png", stamp)
    assert not settling.is_over("kept.png", stamp)
    assert settling.is_on("gone.png", stamp)
    settling.keep({"kept.png"})
    assert not settling.is_on("gone.png", stamp)
    assert settling.is_on("kept.png", stamp)
    assert not settling.is_over("gone.png", stamp), "its time begins anew"
    assert not settling.is_on("kept.png", (101, 2)), "one that changed is looked at again"
