"""What a URL of a camera opens, by what the camera answers."""

from __future__ import annotations

import http.client
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, FrameError, SourceError
from ..images.files import decode_bgr8
from ..images.jpeg import START, jpeg_is_whole
from ..shown import shown_variable
from .address import Address
from .camera import OpenCvCapture
from .http_client import HttpCamera
from .multipart import JpegParts
from .settings import LiveSettings
from .snapshot import SnapshotCapture
from .tls import Trust

__all__ = [
    "MjpegCapture",
    "OpenCvCapture",
    "SnapshotCapture",
    "jpeg_is_whole",
    "log_in",
    "open_http",
]

_READ_BYTES = 1 << 16
_INTERVAL = 1.0
# Enough to see what kind of answer it is.
_SEEN_BYTES = 64


class MjpegCapture:
    """Motion JPEG over HTTP (``multipart/x-mixed-replace``), read part by part.

    Not through OpenCV's FFmpeg: that one scales every frame to the size of the first when the camera changes its
    resolution, and hands out half a frame, its rest made up, when a JPEG is cut off.
    """

    fps = 0.0

    def __init__(self, response: http.client.HTTPResponse, camera: HttpCamera) -> None:
        self._response, self._camera = response, camera
        self._parts = JpegParts(self._more, str(response.headers.get_param("boundary") or ""), camera.name)

    def read(self) -> NDArray[Any]:
        """The next frame."""
        image = decode_bgr8(np.frombuffer(self._parts.next(), np.uint8))
        if image is None:
            raise FrameError(
                f"{self._camera.name} sent a frame that no decoder reads; check the network and the camera."
            )
        return image

    def close(self) -> None:
        """Hang up."""
        self._response.close()
        self._camera.close()

    def _more(self) -> bytes:
        try:
            return self._response.read1(_READ_BYTES)
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = error or type(error).__name__
            raise SourceError(f"{self._camera.name} stopped giving frames ({reason})") from None


def log_in(address: Address, settings: LiveSettings) -> Address:
    """The address with the user of the settings, whose password lies in the environment.

    Raises:
        ConfigError: the environment variable is not set.
    """
    password = os.environ.get(settings.password_env or "", "")
    if settings.password_env is not None and not password:
        raise ConfigError(f"{shown_variable(settings.password_env)} is not set; put the password there.")
    return address.with_login(settings.username, password)


def open_http(url: str, settings: LiveSettings) -> MjpegCapture | SnapshotCapture | OpenCvCapture:
    """Motion JPEG and single pictures by what the camera answers; whatever else a URL gives (MP4, HLS) through OpenCV.

    Raises:
        SourceError: it cannot be opened.
    """
    address = log_in(Address.parse(url), settings)
    timeout = min(settings.open_timeout, settings.read_timeout)
    camera = HttpCamera(address, timeout, Trust(settings.ca_file, settings.fingerprint))
    response = camera.get()
    try:
        return _by_answer(response, camera, address, settings)
    except BaseException:
        camera.close()
        raise


def _by_answer(
    response: http.client.HTTPResponse, camera: HttpCamera, address: Address, settings: LiveSettings
) -> MjpegCapture | SnapshotCapture | OpenCvCapture:
    kind = response.headers.get_content_type()
    family = response.headers.get_content_maintype()
    if family == "multipart":
        return MjpegCapture(response, camera)
    seen = _beginning(response, camera.name)
    # Parts under another name, and pictures one behind the other without parts.
    if (seen.startswith(b"--") and family != "image") or (seen.startswith(START) and family == "video"):
        return MjpegCapture(response, camera)
    if seen.startswith(START) or family == "image":
        return SnapshotCapture(camera, response, settings.interval or _INTERVAL)
    if kind == "text/html":
        raise SourceError(
            f"{camera.name} answers with a web page; give the address of its pictures or its stream, "
            "which the camera's manual or its page names."
        )
    if settings.ca_file is not None or settings.fingerprint is not None:
        raise SourceError(
            f"{camera.name} sends {kind}, which OpenCV would fetch without looking at the certificate; give the "
            "address of motion JPEG or of single pictures, or leave ca_file and fingerprint out."
        )
    camera.close()
    return OpenCvCapture(address, camera.name, settings)


def _beginning(response: http.client.HTTPResponse, name: str) -> bytes:
    try:
        return response.peek(_SEEN_BYTES).lstrip(b"\r\n\x00")
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise SourceError(f"{name} stopped giving frames ({error or type(error).__name__})") from None
