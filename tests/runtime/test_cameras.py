"""A camera at this PC: what it is asked for, what it does not take, and pictures that are turned."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from camera_server import camera, send
from conftest import REPOSITORY, good_part

from patchcore_edge_runtime import open_source
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.line.config_file import load_line
from patchcore_edge_runtime.sources import LiveSettings, LiveSource

WIDTH, HEIGHT, FPS = cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS
SIZES = ((640, 480), (1280, 720), (1920, 1080))


class FakeCamera:
    """A driver as V4L2 has them, in place of ``cv2.VideoCapture``: the nearest size of those that the format has.

    Attributes:
        opened: what was opened, by which interface.
        lies: it says that it takes every size, and gives the smallest.
        numbers: exposure and gain are taken; only where the exposure is not automatic.
    """

    opened: ClassVar[list[tuple[Any, int]]] = []
    driver = "V4L2"
    lies = numbers = False

    def __init__(self, target: Any, backend: int = cv2.CAP_ANY) -> None:
        self.opened.append((target, backend))
        self.asked: list[int] = []
        self._automatic = 3.0
        self._has = {
            WIDTH: 640.0,
            HEIGHT: 480.0,
            FPS: 30.0,
            cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*"YUYV")),
        }
        self._has |= {cv2.CAP_PROP_EXPOSURE: 157.0, cv2.CAP_PROP_GAIN: 0.0}

    def isOpened(self) -> bool:
        return True

    def getBackendName(self) -> str:
        return self.driver

    def get(self, key: int) -> float:
        return self._has.get(key, 0.0)

    def set(self, key: int, value: float) -> bool:
        self.asked.append(key)
        if key == cv2.CAP_PROP_AUTO_EXPOSURE:
            self._automatic = value
            return self.numbers
        if key in (cv2.CAP_PROP_EXPOSURE, cv2.CAP_PROP_GAIN):
            taken = self.numbers and (
                key == cv2.CAP_PROP_GAIN or self._automatic == (1.0 if self.driver == "V4L2" else 0.0)
            )
            self._has[key] = value if taken else self._has[key]
            return taken
        if key == cv2.CAP_PROP_FOURCC and value not in (
            cv2.VideoWriter.fourcc(*"MJPG"),
            cv2.VideoWriter.fourcc(*"YUYV"),
        ):
            return False
        self._has[key] = float(value)
        if key == HEIGHT and not self.lies:
            size = min(SIZES, key=lambda size: abs(size[0] - self._has[WIDTH]) + abs(size[1] - value))
            # Without MJPG the bus is too narrow.
            size = size if self._has[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"MJPG") else min(size, (1280, 720))
            self._has[WIDTH], self._has[HEIGHT] = map(float, size)
        if key == FPS:
            self._has[FPS] = min(value, 30.0)
        return True

    def read(self) -> tuple[bool, np.ndarray]:
        time.sleep(0.005)
        size = (640, 480) if self.lies else (round(self._has[WIDTH]), round(self._has[HEIGHT]))
        return True, np.zeros((size[1], size[0], 3), np.uint8)

    def release(self) -> None:
        pass


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> type[FakeCamera]:
    monkeypatch.setattr(FakeCamera, "opened", [])
    monkeypatch.setattr("cv2.VideoCapture", FakeCamera)
    return FakeCamera


def first_shape(caplog: pytest.LogCaptureFixture, text: str = "0", **settings: object) -> tuple[int, ...]:
    with caplog.at_level(logging.WARNING):
        source = open_source(text, LiveSettings.model_validate(settings))
        assert isinstance(source, LiveSource)
        frame = None
        while frame is None:
            frame = source.poll(timeout=1)
        source.close()
    assert frame.image is not None
    return frame.image.shape[:2]


def test_what_a_camera_takes_is_not_spoken_of(driver: type[FakeCamera], caplog: pytest.LogCaptureFixture) -> None:
    assert first_shape(caplog, width=1920, height=1080, fps=30, fourcc="MJPG") == (1080, 1920)
    assert caplog.text == ""
    assert first_shape(caplog) == (480, 640)
    assert first_shape(caplog, width=1280) == (720, 1280)
    assert caplog.text == ""


def test_what_a_camera_does_not_take_is_said_with_what_it_gives(
    driver: type[FakeCamera], caplog: pytest.LogCaptureFixture
) -> None:
    assert first_shape(caplog, width=1920, height=1080, fps=60, fourcc="H264", gain=4, exposure=20) == (720, 1280)
    (said,) = (record.getMessage() for record in caplog.records)
    assert "width and height 1920x1080, it gives 1280x720" in said
    assert "fourcc H264, it gives YUYV" in said
    assert "fps 60, it gives 30" in said
    assert "exposure 20, it gives 157" in said
    assert "gain 4, it gives 0" in said


def test_a_camera_that_says_yes_and_gives_another_size_is_found_out(
    driver: type[FakeCamera], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "lies", True)
    assert first_shape(caplog, width=1920, height=1080) == (480, 640)
    assert "says that it takes width and height 1920x1080, but it gives 640x480" in caplog.text


@pytest.mark.parametrize("name", ["V4L2", "DSHOW"])
def test_a_number_for_the_exposure_turns_its_automatic_off(
    name: str, driver: type[FakeCamera], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "numbers", True)
    monkeypatch.setattr(driver, "driver", name)
    first_shape(caplog, exposure=-6, gain=2)
    first_shape(caplog, exposure="auto")
    assert caplog.text == ""


def test_the_interface_can_be_chosen(driver: type[FakeCamera], caplog: pytest.LogCaptureFixture) -> None:
    first_shape(caplog, "1", backend="dshow")
    first_shape(caplog, "/dev/video2")
    assert driver.opened == [(1, cv2.CAP_DSHOW), ("/dev/video2", cv2.CAP_ANY)]


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_pictures_of_every_source_are_turned_clockwise(degrees: int, tmp_path: Path) -> None:
    image = good_part()[:40]
    expected = np.rot90(image, -degrees // 90)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    (frame,) = open_source(str(tmp_path), LiveSettings.model_validate({"rotate": degrees}))
    assert np.array_equal(frame.image, expected)
    png = (tmp_path / "a.png").read_bytes()
    with camera(lambda handler: send(handler, png, "image/png")) as url:
        source = open_source(url, LiveSettings.model_validate({"rotate": degrees}))
        assert isinstance(source, LiveSource)
        live = next(iter(source))
        source.close()
    assert np.array_equal(live.image, expected)


@pytest.mark.parametrize(
    ("uri", "key", "said"),
    [
        (
            "rtsp://10.0.0.7/x",
            "width = 1920",
            "a camera at this PC and not for rtsp://10.0.0.7/...; set it in the camera's own",
        ),
        ("http://10.0.0.7/x", "fourcc = 'MJPG'", "set it in the camera's own pages"),
        ("images", "fps = 5", "fps is for a camera at this PC and not for images; leave it out"),
        ("0", "interval = 2", "interval is for an http:// or https:// camera and not for 0"),
        ("rtsp://a:b@10.0.0.7/x", "ca_file = 'x.pem'", "not for rtsp://10.0.0.7/...; leave it out"),
        ("watch:in", "username = 'x'", "username is for a network camera"),
        ("0", "fourcc = 'MJPEG'", "four characters"),
        ("0", "rotate = 45", "0, 90, 180 or 270"),
        ("0", "resolution = [1920, 1080]", "there is no key resolution; there are"),
        ("https://10.0.0.7/x", "fingerprint = 'ab'", "64 hexadecimal digits"),
        ("https://10.0.0.7/x", "ca_file = 'none.pem'", "none.pem holds no certificate"),
        ("https://10.0.0.7/x", "password_env = 'X'", "password_env goes with username"),
    ],
)
def test_a_key_that_means_nothing_to_the_source_is_refused(uri: str, key: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "line.toml"
    file.write_text(f"bundle = 'b'\n[source]\nuri = '{uri}'\n{key}\n")
    with pytest.raises(ConfigError) as error:
        load_line(file, {}, {})
    assert said in str(error.value)
    assert "line.toml" in str(error.value)


def test_every_setting_is_documented_with_its_default() -> None:
    page = (REPOSITORY / "docs" / "sources.md").read_text(encoding="utf-8")
    documented = {}
    for keys, default in re.findall(r"^\| (`[a-z_]+`(?:, `[a-z_]+`)*) \| .* \| (.+?) \|$", page, flags=re.MULTILINE):
        documented |= dict.fromkeys(re.findall(r"`(\w+)`", keys), default)
    fields = LiveSettings.model_fields
    assert set(documented) >= set(fields)
    for key, field in fields.items():
        if field.default is not None:
            assert documented[key] == ("false" if key == "wait" else f"{field.default:g}"), key


def test_every_setting_of_a_camera_can_be_given_in_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "line.toml"
    file.write_text("bundle = 'b'\n[source]\nuri = 0\n")
    said = {"WIDTH": "1920", "FOURCC": "MJPG", "ROTATE": "90", "EXPOSURE": "-5", "GAIN": "1.5", "BACKEND": "v4l2"}
    line = load_line(file, {}, {f"PATCHCORE_EDGE_SOURCE__{key}": value for key, value in said.items()})
    assert (line.source.width, line.source.fourcc, line.source.rotate) == (1920, "MJPG", 90)
    assert (line.source.exposure, line.source.gain, line.source.backend) == (-5, 1.5, "v4l2")
    assert line.live_settings == line.source


def test_a_certificate_file_is_relative_to_the_lines_file(tmp_path: Path) -> None:
    (tmp_path / "line").mkdir()
    file = tmp_path / "line" / "line.toml"
    file.write_text("bundle = 'b'\n[source]\nuri = 'https://10.0.0.7/x'\nca_file = 'camera.pem'\n")
    with pytest.raises(ConfigError) as error:
        load_line(file, {}, {})
    assert str(tmp_path / "line" / "camera.pem") in str(error.value)
