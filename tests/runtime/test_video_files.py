"""Video that is written: by a codec that browsers play, whole, and said before the line starts where it cannot be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from line_records import make_record, wait_for

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.line.config_file import load_line
from patchcore_edge_runtime.sinks import VideoSegmentSink, VideoSink
from patchcore_edge_runtime.sinks.video_writer import choose_writer, forget_choices
from patchcore_edge_runtime.verdict import Verdict

PLAYED = {"h264", "avc1", "VP90", "vp09", "av01", "AV01"}


@pytest.fixture(params=["PyAV", "OpenCV"], autouse=True)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "OpenCV":
        monkeypatch.setitem(sys.modules, "av", None)
    else:
        pytest.importorskip("av", reason="needs the package av")
    forget_choices()
    yield request.param
    forget_choices()


def read(path: Path) -> tuple[str, list[np.ndarray]]:
    capture = cv2.VideoCapture(str(path))
    codec = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()
    frames = []
    while True:
        more, frame = capture.read()
        if not more:
            break
        frames.append(frame)
    capture.release()
    return codec, frames


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_browsers_play_what_is_written_or_it_is_said_that_they_do_not(
    suffix: str, tmp_path: Path, library: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"line{suffix}"
    sink = VideoSink(path, 10)
    for index in range(6):
        sink.write(make_record(Verdict.NG, index, (96, 64)))
    sink.close()
    codec, frames = read(path)
    assert len(frames) == 6
    assert (codec in PLAYED) != ("players show and browsers do not" in caplog.text)
    assert library == "OpenCV" or codec in PLAYED


def test_the_codec_can_be_chosen_in_the_lines_file(tmp_path: Path) -> None:
    file = tmp_path / "line.toml"
    file.write_text("bundle = 'b'\nsource.uri = '0'\n[sinks.video_file]\npath = 'a.mp4'\ncodec = 'mp4v'\n")
    settings = load_line(file, {}, {}).sinks["video_file"]
    assert settings.codec == "mp4v"
    sink = VideoSink(tmp_path / "a.mp4", 10, settings.codec)
    sink.write(make_record(Verdict.OK, 0, (96, 64)))
    sink.close()
    assert read(tmp_path / "a.mp4")[0] in ("FMP4", "mp4v")
    file.write_text(file.read_text().replace("mp4v", "mpeg-4"))
    with pytest.raises(ConfigError, match=r"sinks\.video_file\.codec"):
        load_line(file, {}, {})


def test_a_codec_that_nothing_here_writes_is_said_before_the_line_starts(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for make in (
        lambda: VideoSink(tmp_path / "a.mp4", 10, "xxxx"),
        lambda: VideoSegmentSink(tmp_path, 10, minutes=1, max_bytes=1 << 20, codec="xxxx"),
    ):
        with pytest.raises(ConfigError, match=r"writes xxxx into \.mp4; choose another codec"):
            make()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("size", [(97, 65), (96, 65), (97, 64), (320, 241)])
@pytest.mark.parametrize("codec", [None, "mp4v"])
def test_of_an_odd_size_nothing_is_cut_away(size: tuple[int, int], codec: str | None, tmp_path: Path) -> None:
    width, height = size
    picture = np.full((height, width, 3), 60, np.uint8)
    picture[-1], picture[:, -1] = 250, 250
    writer = choose_writer(".mp4", codec)(tmp_path / "a.mp4", 10.0, size)
    for _ in range(5):
        writer.write(picture)
    writer.release()
    _, frames = read(tmp_path / "a.mp4")
    assert len(frames) == 5
    found = frames[-1]
    # As it was, or with its last row and column twice.
    assert found.shape[0] in (height, height + height % 2)
    assert found.shape[1] in (width, width + width % 2)
    assert found[height - 1, : width // 2].mean() > 180
    assert found[: height // 2, width - 1].mean() > 150
    assert abs(float(found[: height // 2, : width // 2].mean()) - 60) < 8


def test_a_webm_keeps_an_odd_size_as_it_is_where_pyav_writes_it(library: str, tmp_path: Path) -> None:
    writer = choose_writer(".webm", None)(tmp_path / "a.webm", 10.0, (97, 65))
    writer.write(np.zeros((65, 97, 3), np.uint8))
    writer.release()
    assert read(tmp_path / "a.webm")[1][0].shape == ((65, 97, 3) if library == "PyAV" else (66, 98, 3))


def test_pieces_are_written_by_the_codec_too(tmp_path: Path) -> None:
    sink = VideoSegmentSink(tmp_path, 10, minutes=1, max_bytes=1 << 30, codec="mp4v")
    sink.write(make_record(Verdict.OK, 0, (96, 64)))
    sink.close()
    wait_for(lambda: len(list(tmp_path.glob("*.mp4"))) == 1)
    assert read(next(tmp_path.glob("*.mp4")))[0] in ("FMP4", "mp4v")


@pytest.mark.parametrize("size", [(96, 64), (97, 65)])
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_colours_are_those_of_the_picture(suffix: str, size: tuple[int, int], tmp_path: Path) -> None:
    width, height = size
    colours = [(40, 60, 200), (190, 80, 30), (60, 170, 60), (210, 210, 210)]
    for number, colour in enumerate(colours):
        writer = choose_writer(suffix, None)(tmp_path / f"{number}{suffix}", 10.0, size)
        for _ in range(3):
            writer.write(np.full((height, width, 3), colour, np.uint8))
        writer.release()
        frames = read(tmp_path / f"{number}{suffix}")[1]
        assert np.abs(frames[-1].mean((0, 1)) - colour).max() < 6
