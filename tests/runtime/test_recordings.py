"""Recordings that end early or are damaged, and the ones that only look as if they were."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from camera_server import camera
from conftest import good_part, run_cli
from line_records import program

from patchcore_edge_runtime import SourceError, open_source
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.images.size_limit import PixelLimit, limit_pixels
from patchcore_edge_runtime.sources import Frame

try:
    import av
except ImportError:
    av = None

needs_av = pytest.mark.skipif(av is None, reason="needs the package av: pip install 'patchcore-edge-runtime[video]'")
FRAMES = 40


def record(path: Path, codec: str, frames: int = FRAMES) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, (80, 80))
    for seed in range(frames):
        writer.write(good_part(seed))
    writer.release()
    return path


def watch(path: Path) -> tuple[int, int, str]:
    """Frames, those without a picture, and what is said at the end."""
    pictures = errors = 0
    try:
        source = open_source(str(path))
        for frame in source:
            pictures += 1
            errors += frame.image is None
        source.close()
    except SourceError as error:
        return pictures, errors, str(error)
    return pictures, errors, ""


def until_the_error(path: Path) -> Iterator[Frame]:
    with suppress(SourceError):
        yield from open_source(str(path))


@pytest.fixture(params=["PyAV", "OpenCV"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "OpenCV":
        monkeypatch.setitem(sys.modules, "av", None)
    elif av is None:
        pytest.skip("needs the package av")
    return request.param


KINDS = [("a.avi", "MJPG"), ("a.avi", "mp4v"), ("a.mp4", "mp4v"), ("a.mkv", "mp4v"), ("a.mov", "mp4v")]


@pytest.mark.parametrize(("name", "codec"), KINDS)
def test_a_whole_recording_is_fine(name: str, codec: str, reader: str, tmp_path: Path) -> None:
    assert watch(record(tmp_path / name, codec)) == (FRAMES, 0, "")


@pytest.mark.parametrize(("name", "codec"), [kind for kind in KINDS if kind[0] in ("a.avi", "a.mkv")])
def test_one_that_was_cut_off_says_both_numbers(name: str, codec: str, reader: str, tmp_path: Path) -> None:
    path = record(tmp_path / name, codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames, errors, said = watch(path)
    assert 5 < frames < FRAMES
    about = "about " if name == "a.mkv" else ""
    assert f"gives {frames - errors} whole frames and should hold {about}{FRAMES}" in said


def test_one_without_its_index_cannot_be_opened(reader: str, tmp_path: Path) -> None:
    path = record(tmp_path / "a.mp4", "mp4v")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "recorded to its end" in watch(path)[2]


Damage = Callable[[bytearray, int], None]


def zeros(data: bytearray, at: int) -> None:
    data[at : at + len(data) // 6] = bytes(len(data) // 6)


def noise(data: bytearray, at: int) -> None:
    data[at : at + len(data) // 6] = random.Random(0).randbytes(len(data) // 6)


@pytest.mark.parametrize("damage", [zeros, noise])
@pytest.mark.parametrize(("name", "codec"), [kind for kind in KINDS if kind[0] != "a.mkv"])
def test_a_stretch_that_is_damaged_is_said_with_both_numbers(
    name: str, codec: str, damage: Damage, reader: str, tmp_path: Path
) -> None:
    path = record(tmp_path / name, codec)
    data = bytearray(path.read_bytes())
    damage(data, len(data) // 3)
    path.write_bytes(data)
    frames, errors, said = watch(path)
    assert f"gives {frames - errors} whole frames and should hold {FRAMES}" in said
    assert frames - errors < FRAMES


@needs_av
def test_a_picture_that_is_damaged_and_what_was_made_from_it_are_errors_where_the_decoder_is_asked(
    tmp_path: Path,
) -> None:
    path = record(tmp_path / "a.mp4", "mp4v")
    whole = [frame.image for frame in open_source(str(path))]
    data = bytearray(path.read_bytes())
    for at in random.Random(0).sample(range(len(data) // 3, len(data) // 2), 6):
        data[at] ^= 0x55
    path.write_bytes(data)
    frames = []
    for frame in until_the_error(path):
        assert (frame.image is None) == ("is damaged here" in frame.error)
        frames.append(frame.image)
    assert any(picture is None for picture in frames)
    # What is given as a picture is one that was recorded.
    kept = {picture.tobytes() for picture in whole if picture is not None}
    given = [picture for picture in frames if picture is not None]
    assert given
    assert all(picture.tobytes() in kept for picture in given)


@needs_av
def test_frames_that_an_edit_leaves_out_are_not_missing(reader: str, tmp_path: Path) -> None:
    """As `ffmpeg -ss -c copy` and phones trim: the file holds what is before the start, and says not to show it."""
    whole, trimmed = record(tmp_path / "a.mp4", "mp4v"), tmp_path / "b.mp4"
    with av.open(str(whole)) as source, av.open(str(trimmed), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is None:
                continue
            packet.pts -= packet.duration * 10
            packet.dts -= packet.duration * 10
            packet.stream = stream
            target.mux(packet)
    frames, errors, said = watch(trimmed)
    assert 0 < frames <= FRAMES
    assert (errors, said) == (0, "")


@needs_av
@pytest.mark.parametrize("damage", ["lost", "zeros", "noise"])
def test_a_gap_in_a_transport_stream_is_told_though_it_counts_no_frames(damage: str, tmp_path: Path) -> None:
    """Pictures that were predicted across the gap were judged, and those that are missing were missing in silence."""
    path = tmp_path / "a.ts"
    with av.open(str(path), "w", format="mpegts") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 80
        stream.gop_size = 10
        for seed in range(FRAMES):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(good_part(seed), format="bgr24")))
        file.mux(stream.encode(None))
    assert watch(path) == (FRAMES, 0, "")
    whole = [frame.image for frame in open_source(str(path))]
    data = path.read_bytes()
    gap = slice(len(data) * 2 // 5, len(data) // 2)
    fill = {
        "lost": b"",
        "zeros": bytes(gap.stop - gap.start),
        "noise": random.Random(3).randbytes(gap.stop - gap.start),
    }
    path.write_bytes(data[: gap.start] + fill[damage] + data[gap.stop :])
    frames = list(until_the_error(path))
    assert any(frame.error for frame in frames)
    for frame in frames:
        assert frame.image is None or any(np.array_equal(frame.image, one) for one in whole), frame.name


@needs_av
def test_an_uneven_rate_is_no_loss(reader: str, tmp_path: Path) -> None:
    for name in ("a.mkv", "a.avi"):
        with av.open(str(tmp_path / name), "w") as file:
            stream = file.add_stream("mpeg4", rate=25)
            stream.width = stream.height = 80
            for seed in range(FRAMES):
                frame = av.VideoFrame.from_ndarray(good_part(seed), format="bgr24")
                frame.pts = seed if seed < FRAMES // 2 else 3 * seed - FRAMES
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        assert watch(tmp_path / name) == (FRAMES, 0, "")


def test_the_run_counts_what_there_is_and_ends_with_3(tiny_bundle: Path, tmp_path: Path) -> None:
    path = record(tmp_path / "a.avi", "MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    results = tmp_path / "r.jsonl"
    for words in (("run", "--results", results), ("predict", "-o", tmp_path / "out")):
        done = run_cli(*words, "-m", tiny_bundle, "-s", path, "--json", program="patchcore_edge_runtime")
        assert done.returncode == 3, done.stderr
        frames = json.loads(done.stdout)["frames"]
        assert 0 < frames < FRAMES
        assert f"should hold {FRAMES}" in done.stderr
    assert len(results.read_text().splitlines()) == frames


def test_a_recording_that_changes_its_size_is_told_or_it_is_said_that_it_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """OpenCV gives frames of another size in that of the first, or raises; the frame check never sees the size."""
    path = tmp_path / "a.mjpeg"
    sizes = ((80, 80), (60, 160), (80, 80))
    path.write_bytes(b"".join(cv2.imencode(".jpg", cv2.resize(good_part(), size[::-1]))[1].tobytes() for size in sizes))
    if av is not None:
        assert [frame.image.shape[:2] for frame in until_the_error(path)] == list(sizes)
        assert not caplog.text
    monkeypatch.setitem(sys.modules, "av", None)
    frames = list(until_the_error(path))
    assert len(frames) == len(sizes)
    assert all(frame.error or frame.image.shape == (80, 80, 3) for frame in frames)
    assert "scales those of another size" in caplog.text


@needs_av
def test_colours_are_the_same_through_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = record(tmp_path / "a.mp4", "mp4v")
    through_av = [frame.image for frame in open_source(str(path))]
    monkeypatch.setitem(sys.modules, "av", None)
    through_opencv = [frame.image for frame in open_source(str(path))]
    for one, other in zip(through_av, through_opencv, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 3


@needs_av
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_phone_held_upright_gives_upright_pictures_through_both(
    degrees: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ffmpeg = program("ffmpeg")
    path = tmp_path / "b.mp4"
    source = record(tmp_path / "a.mp4", "mp4v", 3)
    subprocess.run(
        [ffmpeg, "-i", source, "-c", "copy", "-metadata:s:v:0", f"rotate={degrees}", path],
        check=True,
        capture_output=True,
    )
    through_av = next(iter(open_source(str(path)))).image
    monkeypatch.setitem(sys.modules, "av", None)
    assert np.abs(through_av.astype(int) - next(iter(open_source(str(path)))).image).max() <= 3


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no names that are not Unicode")
def test_a_name_that_is_not_utf8_is_read_or_a_sentence(reader: str, tmp_path: Path) -> None:
    path = record(tmp_path / "a.mp4", "mp4v", 3).rename(tmp_path / "na\udce9me.mp4")
    if reader == "PyAV":
        assert watch(path)[:2] == (3, 0)
    else:
        with pytest.raises(ConfigError, match="rename it"):
            open_source(str(path))


def test_a_playlist_is_no_recording_and_nothing_is_fetched(reader: str, tmp_path: Path) -> None:
    asked: list[str] = []
    with camera(lambda handler: asked.append(handler.path)) as url:
        path = tmp_path / "a.mp4"
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}/x.ts\n#EXT-X-ENDLIST\n")
        assert "cannot be opened" in watch(path)[2]
    assert asked == []


@needs_av
def test_a_frame_that_comes_in_a_huge_size_later_is_an_error_and_costs_nothing(tmp_path: Path) -> None:
    small, huge = (cv2.imencode(".jpg", np.full((side, side, 3), 90, np.uint8))[1].tobytes() for side in (80, 4000))
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mjpeg", rate=25)
        stream.width = stream.height = 80
        stream.pix_fmt = "yuvj420p"
        for number, picture in enumerate([small, small, huge, small]):
            packet = av.Packet(picture)
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 25), number, number
            file.mux(packet)
    with limit_pixels(PixelLimit(500 * 500)):
        frames = list(until_the_error(path))
    assert [None if frame.image is None else frame.image.shape for frame in frames] == [(80, 80, 3)] * 2 + [
        None,
        (80, 80, 3),
    ]
    assert "is damaged here" in frames[2].error
