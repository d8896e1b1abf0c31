"""A camera at this PC, or a stream, through OpenCV; and asking a camera for what the line wants of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import cv2
from numpy.typing import NDArray

from ..errors import SourceError
from ..images.size_limit import video_fault
from ..opencv_check import opencv_name
from .address import Address
from .settings import LiveSettings

__all__ = ["OpenCvCapture", "ask_camera"]

_LOG = logging.getLogger(__name__)
_BACKENDS = {
    "v4l2": cv2.CAP_V4L2,
    "dshow": cv2.CAP_DSHOW,
    "msmf": cv2.CAP_MSMF,
    "avfoundation": cv2.CAP_AVFOUNDATION,
    "gstreamer": cv2.CAP_GSTREAMER,
}
# What the drivers call a hand on the exposure, and none.
_MANUAL, _AUTOMATIC = {"V4L2": 1.0, "DSHOW": 0.0, "MSMF": 0.0}, {"V4L2": 3.0, "DSHOW": 1.0, "MSMF": 1.0}
_TOLERANCE = 0.01


@dataclass(frozen=True)
class _Size:
    """Width and height in pixels, as far as they are asked for."""

    width: int | None = None
    height: int | None = None

    def fits(self, width: int, height: int) -> bool:
        return self.width in (None, width) and self.height in (None, height)

    def __str__(self) -> str:
        if self.width is None or self.height is None:
            return f"width {self.width}" if self.height is None else f"height {self.height}"
        return f"width and height {self.width}x{self.height}"


class OpenCvCapture:
    """A camera index, a device path or a stream URL.

    Attributes:
        fps: what the driver or the stream says; 0 where it says nothing.
    """

    def __init__(self, target: int | str | Address, name: str, settings: LiveSettings) -> None:
        self._name = name
        self._asked = _Size(settings.width, settings.height)
        self._capture = _open(target, settings)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(f"{name} cannot be opened")
        try:
            refused = [] if isinstance(target, Address) else ask_camera(self._capture, settings)
            width, height = _given_size(self._capture)
            if fault := video_fault(height, width):
                raise SourceError(f"{name} {fault}")
            # The driver's own queue would hand out old frames.
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            self.fps = max(0.0, float(self._capture.get(cv2.CAP_PROP_FPS)))
        except BaseException:
            self._capture.release()
            raise
        if refused:
            _LOG.warning("%s does not take %s.", name, "; ".join(refused))
            self._asked = _Size()

    def read(self) -> NDArray[Any]:
        """The next frame."""
        more, image = self._capture.read()
        if not more:
            raise SourceError(f"{self._name} stopped giving frames")
        if not self._asked.fits(*image.shape[1::-1]):
            # Some drivers say yes and give what they gave before.
            width, height = image.shape[1::-1]
            _LOG.warning("%s says that it takes %s, but it gives %dx%d.", self._name, self._asked, width, height)
        self._asked = _Size()
        return image

    def close(self) -> None:
        """Release the device or the connection."""
        self._capture.release()


def _open(target: int | str | Address, settings: LiveSettings) -> cv2.VideoCapture:
    if isinstance(target, Address):
        timeouts = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            round(settings.open_timeout * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            round(settings.read_timeout * 1000),
        ]
        try:
            full = target.full
            full.encode()
        except UnicodeEncodeError:  # not opencv_name: its error would say the password
            raise SourceError(f"{target.shown} is not UTF-8; correct it.") from None
        return cv2.VideoCapture(full, cv2.CAP_FFMPEG, timeouts)
    target = target if isinstance(target, int) else opencv_name(target)
    return cv2.VideoCapture(target, cv2.CAP_ANY if settings.backend is None else _BACKENDS[settings.backend])


def ask_camera(capture: cv2.VideoCapture, settings: LiveSettings) -> list[str]:
    """Ask an open camera for what the settings say, and look at what it gives.

    The pixel format goes first: it decides which sizes and rates there are.

    Returns:
        what it does not take, each with what it gives instead, in words; empty when it takes everything.
    """
    if settings.fourcc is not None:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*settings.fourcc))
    if settings.width is not None or settings.height is not None:
        # Always both: V4L2 waits with the one for the other.
        width, height = _given_size(capture)
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width or width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height or height)
    if settings.fps is not None:
        capture.set(cv2.CAP_PROP_FPS, settings.fps)
    # All of them first: one that is set later may change an earlier one.
    return [*_format_refused(capture, settings), *_ask_exposure(capture, settings), *_ask_gain(capture, settings)]


def _given_size(capture: cv2.VideoCapture) -> tuple[int, int]:
    return round(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))


def _format_refused(capture: cv2.VideoCapture, settings: LiveSettings) -> list[str]:
    refused = []
    if settings.fourcc is not None:
        name = _characters(capture.get(cv2.CAP_PROP_FOURCC))
        if name != settings.fourcc:
            refused.append(f"fourcc {settings.fourcc.strip()}, it gives {name.strip() or 'what it does not name'}")
    asked, given = _Size(settings.width, settings.height), _given_size(capture)
    if not asked.fits(*given):
        refused.append(f"{asked}, it gives {given[0]}x{given[1]}")
    if settings.fps is not None:
        fps = capture.get(cv2.CAP_PROP_FPS)
        if not _near(fps, settings.fps):
            refused.append(f"fps {settings.fps:g}, it gives {fps:g}")
    return refused


def _ask_exposure(capture: cv2.VideoCapture, settings: LiveSettings) -> list[str]:
    if settings.exposure is None:
        return []
    driver = capture.getBackendName()
    if settings.exposure == "auto":
        taken = capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, _AUTOMATIC.get(driver, 1.0))
        return [] if taken else [f"exposure auto, it keeps {capture.get(cv2.CAP_PROP_EXPOSURE):g}"]
    # A camera that exposes by itself takes no number; one that cannot is manual already.
    capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL.get(driver, 0.0))
    return _ask_number(capture, cv2.CAP_PROP_EXPOSURE, "exposure", settings.exposure)


def _ask_gain(capture: cv2.VideoCapture, settings: LiveSettings) -> list[str]:
    return [] if settings.gain is None else _ask_number(capture, cv2.CAP_PROP_GAIN, "gain", settings.gain)


def _ask_number(capture: cv2.VideoCapture, key: int, name: str, wanted: float) -> list[str]:
    taken = capture.set(key, wanted)
    given = capture.get(key)
    return [] if taken and _near(given, wanted) else [f"{name} {wanted:g}, it gives {given:g}"]


def _near(given: float, wanted: float) -> bool:
    return abs(given - wanted) <= _TOLERANCE * max(1.0, abs(wanted))


def _characters(fourcc: float) -> str:
    text = (int(fourcc) & 0xFFFFFFFF).to_bytes(4, "little").decode("latin-1")
    return text if text.isprintable() else ""
