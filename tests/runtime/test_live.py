"""Live sources against a real camera on loopback, with its faults."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import good_part
from mjpeg_server import MjpegServer, broken
from numpy.typing import NDArray

from patchcore_edge_runtime import SourceError, open_source
from patchcore_edge_runtime.sources import Frame, LiveSettings, LiveSource
from patchcore_edge_runtime.sources.captures import jpeg_is_whole
from patchcore_edge_runtime.sources.triggers import IntervalSource, TriggeredSource

QUICK = LiveSettings(open_timeout=2, read_timeout=0.6, max_backoff=0.3)


@pytest.fixture
def camera() -> Iterator[MjpegServer]:
    server = MjpegServer(good_part)
    yield server
    server.stop()


@pytest.fixture
def source(camera: MjpegServer) -> Iterator[LiveSource]:
    live = open_source(camera.url, QUICK)
    assert isinstance(live, LiveSource)
    yield live
    live.close()


def take(source: LiveSource, wanted: object, within: float = 20.0) -> list[Frame]:
    """Frames up to the first that ``wanted`` likes, it included."""
    taken: list[Frame] = []
    end = time.monotonic() + within
    while time.monotonic() < end:
        frame = source.poll(timeout=0.1)
        if frame is not None:
            taken.append(frame)
            if wanted(frame):
                return taken
    pytest.fail(f"it never came; the last was {taken[-1:]}")


def has_picture(frame: Frame) -> bool:
    return frame.image is not None


def has_none(frame: Frame) -> bool:
    return frame.image is None


def test_frames_come_in_order_and_those_nobody_takes_are_counted(source: LiveSource) -> None:
    first = take(source, has_picture)[-1]
    time.sleep(0.5)
    second = take(source, has_picture)[-1]
    assert first.image.shape == (80, 80, 3)
    assert second.index > first.index
    assert second.time > first.time
    assert source.status()[0] == "running"
    assert source.status()[1] > 0


def test_a_camera_switched_off_is_one_error_and_comes_back(camera: MjpegServer, source: LiveSource) -> None:
    take(source, has_picture)
    camera.stop()
    taken = take(source, has_none)
    assert "check cable" in taken[-1].error
    assert source.status()[0] == "lost"
    # However often it tries in vain, it is the same loss.
    assert source.poll(timeout=1.5) is None
    camera.start()
    assert [frame.image is None for frame in take(source, has_picture)] == [False]
    assert source.losses == 1
    assert source.status()[0] == "running"


def test_a_stall_in_the_middle_of_a_frame_is_a_loss_and_never_half_a_frame(
    camera: MjpegServer, source: LiveSource
) -> None:
    take(source, has_picture)
    camera.stalled.set()
    taken = take(source, has_none)
    assert all(jpeg.image.shape == (80, 80, 3) for jpeg in taken[:-1])
    camera.stalled.clear()
    take(source, has_picture)


def test_broken_frames_are_errors_and_the_connection_stays(camera: MjpegServer, source: LiveSource) -> None:
    take(source, has_picture)
    camera.corrupt.set()
    broken_one = take(source, has_none)[-1]
    assert "no whole JPEG" in broken_one.error
    camera.corrupt.clear()
    take(source, has_picture)
    assert source.losses == 0


def test_a_change_of_resolution_is_passed_on_as_it_is(camera: MjpegServer, source: LiveSource) -> None:
    take(source, has_picture)
    camera.make_frame = lambda number: good_part(number, size=160)
    frame = take(source, lambda frame: frame.image is not None and frame.image.shape[0] != 80)[-1]
    assert frame.image.shape == (160, 160, 3)
    assert source.losses == 0


def test_frames_that_do_not_say_their_length(camera: MjpegServer, source: LiveSource) -> None:
    camera.sized = False
    camera.stop()
    take(source, has_none)
    camera.start()
    frame = take(source, has_picture)[-1]
    assert frame.image.shape == (80, 80, 3)


def test_a_camera_that_is_not_there_is_refused_at_once_unless_it_is_waited_for(camera: MjpegServer) -> None:
    camera.stop()
    with pytest.raises(SourceError, match="check cable"):
        open_source(camera.url, QUICK)
    patient = open_source(camera.url, QUICK.model_copy(update={"wait": True}))
    assert isinstance(patient, LiveSource)
    take(patient, has_none)
    camera.start()
    take(patient, has_picture)
    patient.close()


def test_what_is_no_camera_is_refused(tmp_path) -> None:
    for text in ("63", "/dev/no-such-camera", "rtsp://127.0.0.1:1/x"):
        with pytest.raises(SourceError, match="cannot be opened"):
            open_source(text, QUICK)


def test_a_video_over_http_goes_through_opencv_and_its_end_is_a_loss(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "line.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (80, 80))
    for seed in range(5):
        writer.write(good_part(seed))
    writer.release()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    source = open_source(f"http://127.0.0.1:{server.server_port}/line.avi", QUICK)
    assert isinstance(source, LiveSource)
    assert source.fps == 25
    assert take(source, has_picture)[-1].image.shape == (80, 80, 3)
    assert "stopped giving frames" in take(source, has_none)[-1].error
    source.close()
    server.shutdown()
    server.server_close()


class HungDriver:
    """Gives a frame, then does not return for as long as ``let_go`` is not set."""

    fps = 30.0

    def __init__(self, let_go: threading.Event) -> None:
        self._let_go, self._first = let_go, True

    def read(self) -> NDArray[np.uint8]:
        if not self._first:
            self._let_go.wait()
            raise SourceError("let go")
        self._first = False
        return good_part()

    def close(self) -> None:
        pass


def test_a_driver_that_hangs_is_left_to_itself_and_opened_again_but_not_endlessly() -> None:
    let_go, opened = threading.Event(), []

    def open_driver() -> HungDriver:
        opened.append(1)
        return HungDriver(let_go)

    source = LiveSource("hung", open_driver, LiveSettings(open_timeout=1, read_timeout=0.15, max_backoff=0.05))
    for _ in range(3):
        take(source, has_picture)
        assert "no frame for" in take(source, has_none)[-1].error
    time.sleep(2)
    assert len(opened) == 4
    let_go.set()
    take(source, lambda _: len(opened) > 4)
    source.close()


def test_a_driver_that_throws_anything_is_a_loss() -> None:
    class Odd(HungDriver):
        def read(self) -> NDArray[np.uint8]:
            raise cv2.error("what a driver says")

    source = LiveSource("odd", lambda: Odd(threading.Event()), LiveSettings(wait=True, max_backoff=0.05))
    assert "what a driver says" in take(source, has_none)[-1].error
    source.close()


def test_a_source_that_gave_a_frame_and_was_lost_at_once_has_started() -> None:
    class Short(HungDriver):
        def read(self) -> NDArray[np.uint8]:
            self._let_go.wait(0.01)
            if not self._first:
                raise SourceError("it ended")
            self._first = False
            return good_part()

    for _ in range(20):  # whether the start or the loss is seen first is a race
        source = LiveSource("short", lambda: Short(threading.Event()), LiveSettings(max_backoff=0.01))
        source.close()


def test_stopping_ends_the_iteration(source: LiveSource) -> None:
    for count, _ in enumerate(source):
        if count == 3:
            source.stop()
    assert source.poll() is None


def test_a_trigger_gets_a_frame_taken_after_it(source: LiveSource) -> None:
    gate = TriggeredSource(source)
    frames = iter(gate)
    time.sleep(0.2)
    before = time.time()
    assert gate.trigger("part 7")
    frame = next(frames)
    assert frame.part == "part 7"
    assert frame.time >= before
    gate.stop()
    assert list(frames) == []
    assert not gate.trigger()


def test_a_trigger_while_the_camera_is_lost_is_an_error_for_that_part(camera: MjpegServer, source: LiveSource) -> None:
    gate = TriggeredSource(source)
    frames = iter(gate)
    camera.stop()
    assert next(frames).error, "the loss is reported without being asked for"
    assert all(gate.trigger(f"part {number}") for number in range(64))
    assert not gate.trigger("one too many")
    answers = [next(frames) for _ in range(64)]
    assert [frame.part for frame in answers] == [f"part {number}" for number in range(64)]
    assert all(has_none(frame) for frame in answers)


def test_an_interval_passes_frames_over(camera: MjpegServer, source: LiveSource) -> None:
    frames = iter(IntervalSource(source, 150))
    times = [next(frames).time for _ in range(4)]
    camera.corrupt.set()
    times += [next(frames).time for _ in range(4)]
    # Broken frames come no faster than whole ones.
    assert min(np.diff(times)) > 0.1


def test_whole_jpegs_pass_and_broken_ones_do_not() -> None:
    for quality in (20, 95):
        for progressive in (0, 1):
            for restart in (0, 4):
                flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
                flags += [cv2.IMWRITE_JPEG_RST_INTERVAL, restart]
                data = cv2.imencode(".jpg", good_part(size=240), flags)[1].tobytes()
                assert jpeg_is_whole(data)
                assert not any(jpeg_is_whole(data[:length]) for length in range(0, len(data) - 1, 47))
                assert not any(jpeg_is_whole(broken(data, number)) for number in range(6))
