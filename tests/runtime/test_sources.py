"""Files, folders and Python's own frames."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import good_part
from line_records import wait_for

from patchcore_edge_runtime import MAX_PIXELS, Inspector, SourceError, Verdict, open_source
from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.images.files import read_image
from patchcore_edge_runtime.sources import Frame, IterableSource, WatchedFolder, is_live, source_in
from patchcore_edge_runtime.sources.triggers import IntervalSource, TriggeredSource


def put(path: Path, seed: int = 0) -> Path:
    path.write_bytes(cv2.imencode(path.suffix, good_part(seed))[1].tobytes())
    return path


def test_every_file_of_a_folder_and_of_a_pattern_in_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "c.bmp"):
        put(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    names = [Path(frame.name).name for frame in open_source(str(tmp_path))]
    assert names == ["a.jpg", "b.png", "c.bmp"]
    assert [Path(frame.name).name for frame in open_source(str(tmp_path / "*.png"))] == ["b.png"]


def test_every_frame_of_a_video(tmp_path: Path) -> None:
    path = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (80, 80))
    for seed in range(12):
        writer.write(good_part(seed))
    writer.release()
    source = open_source(str(path))
    assert source.fps == 25
    assert [frame.index for frame in source] == list(range(12))
    source.close()


def test_a_file_that_cannot_be_read_is_a_frame_without_a_picture(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"\x89PNG and no more")
    good, bad = open_source(str(tmp_path))
    assert good.error == ""
    assert bad.image is None
    assert "b.png" in bad.error


@pytest.mark.parametrize("text", ["no-such-thing", "watch:no-such-folder", "none-*.png"])
def test_what_is_not_there_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError):
        open_source(text)


def test_a_path_may_be_written_as_a_url_and_from_the_home_folder_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = put(tmp_path / "a b.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for text in (photo.as_uri(), "~/a b.png", "~/*.png"):
        assert not is_live(text)
        assert [frame.error for frame in open_source(text)] == [""]
        assert [frame.error for frame in open_source(source_in(tmp_path / "elsewhere", text))] == [""]
    assert source_in(tmp_path / "elsewhere", "watch:~/in") == f"watch:{tmp_path / 'in'}"


def test_a_pattern_that_fits_no_file_is_said_to_fit_none(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"No file fits the pattern .*\*\.png; give"):
        open_source(str(tmp_path / "*.png"))


@pytest.mark.parametrize("text", ["", "watch:"])
def test_a_source_that_names_nothing_is_not_the_folder_at_hand(text: str) -> None:
    with pytest.raises(ConfigError, match=r"[Tt]he source names nothing; give"):
        open_source(text)


@pytest.mark.parametrize("name", ["parts.csv", "part-000.tar", "notes.txt", "labels.json"])
def test_a_file_that_is_no_video_is_not_said_to_be_a_damaged_one(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("path\n")
    with pytest.raises(SourceError, match="is no picture and no video; give"):
        open_source(tmp_path / name)


def test_stopping_ends_files_videos_and_iterables(tmp_path: Path) -> None:
    for seed in range(5):
        put(tmp_path / f"{seed}.png", seed)
    for source in (open_source(str(tmp_path)), IterableSource(good_part(seed) for seed in range(5))):
        seen = []
        for frame in source:
            seen.append(frame.index)
            if frame.index == 1:
                source.stop()
        assert seen == [0, 1]


def test_none_in_an_iterable_is_a_frame_without_a_picture() -> None:
    first, second = IterableSource([None, good_part()])
    assert first.image is None
    assert first.error
    assert second.image is not None


def watch(source: WatchedFolder, count: int) -> list[Frame]:
    frames = []
    for frame in source:
        frames.append(frame)
        if len(frames) == count:
            source.stop()
    return frames


def test_a_watched_folder_gives_what_comes_in_once_and_whole(tmp_path: Path) -> None:
    put(tmp_path / "old.png")
    source = WatchedFolder(tmp_path, poll_seconds=0.01)
    frames = iter(source)
    put(tmp_path / "1.png", 1)
    assert Path(next(frames).name).name == "1.png"
    # Written again under its old name.
    time.sleep(0.01)
    put(tmp_path / "1.png", 2)
    put(tmp_path / "2.png", 3)
    assert sorted(Path(next(frames).name).name for _ in range(2)) == ["1.png", "2.png"]
    source.stop()
    assert list(frames) == []


class Looks:
    """Counts how often a watched folder is listed, and may do something just before."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, before: Callable[[int], None] | None = None):
        self.count = 0
        real = os.scandir

        def scandir(path: Path) -> Any:
            if path == folder:
                self.count += 1
                if before is not None:
                    before(self.count)
            return real(path)

        monkeypatch.setattr(os, "scandir", scandir)

    def wait(self) -> None:
        """For three whole looks from now on."""
        seen = self.count
        wait_for(lambda: self.count >= seen + 4)


@pytest.fixture
def taken() -> Iterator[Callable[[WatchedFolder], list[str]]]:
    """Takes the frames of a source in a thread of its own; gives the list of the files' names, or of errors."""
    started: list[tuple[WatchedFolder, threading.Thread]] = []

    def start(source: WatchedFolder) -> list[str]:
        names: list[str] = []

        def take() -> None:
            for frame in source:
                names.append(frame.error or Path(frame.name).name)  # noqa: PERF401 - one by one, for who looks on

        thread = threading.Thread(target=take)
        thread.start()
        started.append((source, thread))
        return names

    yield start
    for source, thread in started:
        source.stop()
        thread.join()


def test_a_file_still_being_written_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = cv2.imencode(".png", good_part())[1].tobytes()
    steps = len(data) // 5

    def write_on(look: int) -> None:
        # A fifth of it before each look but the first, which the source takes when it is made.
        if 1 < look <= 7:
            (tmp_path / "a.png").write_bytes(data[: (look - 1) * steps])

    Looks(monkeypatch, tmp_path, write_on)
    (frame,) = watch(WatchedFolder(tmp_path, poll_seconds=0.01), 1)
    assert frame.error == ""
    assert np.array_equal(frame.image, good_part())


def test_a_share_that_was_away_for_a_moment_brings_nothing_that_was_inspected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: Callable[[WatchedFolder], list[str]]
) -> None:
    share, away = tmp_path / "share", tmp_path / "away"
    share.mkdir()
    put(share / "before.png")
    looks = Looks(monkeypatch, share)
    names = taken(WatchedFolder(share, poll_seconds=0.01))
    put(share / "1.png", 1)
    wait_for(lambda: names == ["1.png"])
    # An unmounted share leaves its empty mount point.
    share.rename(away)
    share.mkdir()
    looks.wait()
    share.rmdir()
    away.rename(share)
    looks.wait()
    put(share / "2.png", 2)
    wait_for(lambda: names[-1] == "2.png")
    assert [name for name in names if name.endswith(".png")] == ["1.png", "2.png"]


def test_a_file_that_vanishes_while_it_is_looked_at_takes_no_other_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: Callable[[WatchedFolder], list[str]]
) -> None:
    names_at_start = [f"{number}.png" for number in range(5)]
    for name in names_at_start:
        put(tmp_path / name)
    source = WatchedFolder(tmp_path, poll_seconds=0.01)
    looks = Looks(monkeypatch, tmp_path)
    vanishing = vanishing_in(monkeypatch, tmp_path)
    names = taken(source)
    vanishing.set()
    looks.wait()
    vanishing.clear()
    looks.wait()
    put(tmp_path / "new.png")
    wait_for(lambda: bool(names))
    assert names == ["new.png"]


def vanishing_in(monkeypatch: pytest.MonkeyPatch, folder: Path) -> threading.Event:
    """While set, the first file of a listing is gone when its facts are asked for."""
    vanishing = threading.Event()
    first, real = min(folder.iterdir()), Path.stat

    def stat(path: Path, **words: Any) -> os.stat_result:
        if vanishing.is_set() and path == first:
            raise FileNotFoundError(path)
        return real(path, **words)

    monkeypatch.setattr(Path, "stat", stat)
    return vanishing


def test_names_of_removed_pictures_are_forgotten_by_age_and_what_is_older_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: Callable[[WatchedFolder], list[str]]
) -> None:
    looks = Looks(monkeypatch, tmp_path)
    names = taken(WatchedFolder(tmp_path, poll_seconds=0.01, remembered=4))

    def put_dated(number: int) -> None:
        path = put(tmp_path.parent / "new.png", number).rename(tmp_path / "new")
        os.utime(path, ns=(number * 10**9, number * 10**9))
        path.rename(tmp_path / f"{number:02d}.png")

    for number in range(12):
        put_dated(number)
        wait_for(lambda number=number: len(names) == number + 1)
        if number:
            (tmp_path / f"{number - 1:02d}.png").unlink()
            looks.wait()
    assert names == [f"{number:02d}.png" for number in range(12)]
    for number in (10, 0):  # one that is remembered, and one that is not
        put_dated(number)
    wait_for(lambda: len(names) > 12)
    assert len(names) == 13
    assert "00.png may have been inspected long ago" in names[-1]


@pytest.mark.parametrize(
    ("text", "live", "moved"),
    [
        ("0", True, "0"),
        ("/dev/video0", True, "/dev/video0"),
        ("rtsp://10.0.0.7/x", True, "rtsp://10.0.0.7/x"),
        ("HTTP://10.0.0.7/x", True, "HTTP://10.0.0.7/x"),
        ("camera-new://7", True, "camera-new://7"),
        ("watch:in", False, f"watch:{Path('line') / 'in'}"),
        ("in/*.png", False, str(Path("line") / "in/*.png")),
        ("0.png", False, str(Path("line") / "0.png")),
    ],
)
def test_names_of_sources_are_known_in_one_place(text: str, live: bool, moved: str) -> None:
    assert is_live(text) == live
    assert source_in(Path("line"), text) == moved


def test_a_watched_folder_that_goes_is_one_error_and_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "share"
    folder.mkdir()
    source = WatchedFolder(folder, poll_seconds=0.01)
    frames = iter(source)
    folder.rename(tmp_path / "away")
    assert "cannot be read" in next(frames).error
    assert source.status()[0] == "lost"
    (tmp_path / "away").rename(folder)
    put(folder / "1.png")
    assert next(frames).error == ""
    assert source.status()[0] == "running"


def test_a_trigger_takes_the_next_file(tmp_path: Path) -> None:
    for seed in range(3):
        put(tmp_path / f"{seed}.png", seed)
    gate = TriggeredSource(open_source(str(tmp_path)))
    for part in ("a", "b", "c", "d"):
        gate.trigger(part)
    assert [frame.part for frame in gate] == ["a", "b", "c"]
    assert not gate.trigger()


def test_an_interval_needs_a_live_source(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    with pytest.raises(ConfigError, match="camera"):
        IntervalSource(open_source(str(tmp_path)), 100)


def giant_png(path: Path, side: int) -> Path:
    """A PNG of a few hundred bytes that claims side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    return path


def test_a_picture_that_claims_to_be_giant_is_refused_by_its_header(tmp_path: Path) -> None:
    side = int(MAX_PIXELS**0.5) + 1
    path = giant_png(tmp_path / "giant.png", side)
    # In a process of its own: OpenCV reads its limit once, and the peak of memory must be its own.
    code = (
        "import sys, patchcore_edge_runtime as p\n"
        "from patchcore_edge_runtime.sources import read_image\n"
        "from patchcore_edge_runtime.system import resident_memory\n"
        "before = resident_memory()\n"
        "try: read_image(sys.argv[1])\n"
        "except p.PatchcoreEdgeError as error: print(error)\n"
        "assert resident_memory() - before < 100 << 20\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "giant.png says that it has 16385x16385 pixels" in done.stdout


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"GIF89a", b"\xff\xd8\xff\xe0" + b"\0" * 30, b"II*\0\x08\0\0\0\xff\xff"]
)
def test_bytes_that_are_no_picture_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(DataError):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".webp"])
def test_a_picture_with_changed_bytes_is_refused_or_a_frame_that_gets_a_verdict(
    suffix: str, tmp_path: Path, tiny_inspector: Inspector
) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / f"x{suffix}"
    data = np.frombuffer(cv2.imencode(suffix, good_part())[1].tobytes(), np.uint8)
    read, refused = 0, 0
    for trial in range(40):
        changed = data.copy()
        # Half of them where the header is, which says how large the picture is; half anywhere.
        places = random.integers(0, min(len(data), 60) if trial % 2 else len(data), 4)
        changed[places] = random.integers(0, 256, 4)
        changed.tofile(path)
        (frame,) = open_source(str(path))
        if frame.image is None:
            refused += 1
            assert str(path) in frame.error
            assert frame.error.endswith(".")
            continue
        read += 1
        assert frame.error == ""
        assert frame.image.dtype in (np.uint8, np.uint16)
        assert frame.image.shape[0] * frame.image.shape[1] <= MAX_PIXELS
        result = tiny_inspector(frame.image)
        assert (result.verdict is Verdict.ERROR) == (not np.isfinite(result.pred_score)) == bool(result.reason)
    assert read or suffix == ".png", "a PNG has checksums, the others can be read with changes"
    assert refused
