"""Open connections: a camera or stream through OpenCV, and motion JPEG over HTTP."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import FrameError, SourceError
from ..images.files import decode_bgr8
from ..images.size_limit import video_fault
from .live import LiveSettings

__all__ = ["MjpegCapture", "OpenCvCapture", "jpeg_is_whole", "open_http", "without_password"]

_MAX_LINE = 1 << 12
_MAX_HEADERS = 64
_MAX_JPEG_BYTES = 64 << 20
# A marker inside of a scan: not a stuffed byte, a restart or a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_START, _END, _SCAN = b"\xff\xd8", 0xD9, 0xDA


class OpenCvCapture:
    """A camera index, a device path or a stream URL."""

    def __init__(self, target: int | str, name: str, settings: LiveSettings) -> None:
        self._name = name
        if isinstance(target, int) or "://" not in target:
            self._capture = cv2.VideoCapture(target)
        else:
            timeouts = [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                round(settings.open_timeout * 1000),
                cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                round(settings.read_timeout * 1000),
            ]
            self._capture = cv2.VideoCapture(target, cv2.CAP_FFMPEG, timeouts)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(f"{name} cannot be opened")
        if fault := video_fault(self._capture):
            self._capture.release()
            raise SourceError(f"{name} {fault}")
        # The driver's own queue would hand out old frames.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self.fps = max(0.0, float(self._capture.get(cv2.CAP_PROP_FPS)))

    def read(self) -> NDArray[Any]:
        """The next frame."""
        more, image = self._capture.read()
        if not more:
            raise SourceError(f"{self._name} stopped giving frames")
        return image

    def close(self) -> None:
        """Release the device or the connection."""
        self._capture.release()


class MjpegCapture:
    """Motion JPEG over HTTP (``multipart/x-mixed-replace``), read part by part.

    Not through OpenCV's FFmpeg: that one scales every frame to the size of the first when the camera changes its
    resolution, and hands out half a frame, its rest made up, when a JPEG is cut off.
    """

    fps = 0.0

    def __init__(self, response: http.client.HTTPResponse, name: str) -> None:
        self._response, self._name = response, name
        boundary = str(response.headers.get_param("boundary") or "").removeprefix("--")
        self._boundary = b"--" + boundary.encode("latin-1", "replace")

    def read(self) -> NDArray[Any]:
        """The next frame."""
        try:
            data = self._part()
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise SourceError(f"{self._name} stopped giving frames ({error or type(error).__name__})") from None
        image = decode_bgr8(np.frombuffer(data, np.uint8)) if jpeg_is_whole(data) else None
        if image is None:
            raise FrameError(f"{self._name} sent a frame that is no whole JPEG; check the network and the camera.")
        return image

    def close(self) -> None:
        """Hang up."""
        self._response.close()

    def _part(self) -> bytes:
        length, typed = 0, False
        for _ in range(_MAX_HEADERS):
            line = self._response.readline(_MAX_LINE)
            if not line:
                raise SourceError(f"{self._name} closed the connection")
            key, _, value = line.decode("latin-1").partition(":")
            if key.strip().lower() == "content-length":
                length = int(value)
            elif key.strip().lower() == "content-type":
                typed = True
            elif not line.strip() and (length or typed):
                return self._sized(length) if length else self._up_to_the_boundary()
        raise SourceError(f"{self._name} sends no motion JPEG")

    def _sized(self, length: int) -> bytes:
        if not 0 < length <= _MAX_JPEG_BYTES:
            raise SourceError(f"{self._name} sends frames of an impossible size")
        data = self._response.read(length)
        if len(data) != length:
            raise SourceError(f"{self._name} closed the connection")
        return data

    def _up_to_the_boundary(self) -> bytes:
        size = 0
        lines: list[bytes] = []
        while size <= _MAX_JPEG_BYTES:
            line = self._response.readline(_MAX_LINE)
            if not line:
                raise SourceError(f"{self._name} closed the connection")
            if line.startswith(self._boundary):
                return b"".join(lines)
            lines.append(line)
            size += len(line)
        raise SourceError(f"{self._name} sends frames of an impossible size")


def without_password(url: str) -> str:
    """A URL as it may be shown and recorded: without user and password."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def open_http(url: str, settings: LiveSettings) -> MjpegCapture | OpenCvCapture:
    """Motion JPEG by its content type; whatever else a URL gives (MP4, HLS) through OpenCV."""
    name = without_password(url)
    try:
        response = _opener(url, name).open(name, timeout=min(settings.open_timeout, settings.read_timeout))
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise SourceError(f"{name} cannot be opened ({reason})") from None
    if response.headers.get_content_type() == "multipart/x-mixed-replace":
        return MjpegCapture(response, name)
    response.close()
    return OpenCvCapture(url, name, settings)


def _opener(url: str, name: str) -> urllib.request.OpenerDirector:
    parts = urllib.parse.urlsplit(url)
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if parts.username:
        user, password = (urllib.parse.unquote(text or "") for text in (parts.username, parts.password))
        passwords.add_password(None, name, user, password)
    return urllib.request.build_opener(
        # A camera is on the plant's network; a proxy for the office is not its way.
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPDigestAuthHandler(passwords),
        urllib.request.HTTPBasicAuthHandler(passwords),
    )


def jpeg_is_whole(data: bytes) -> bool:
    """Whether a JPEG runs from its start to its end marker with nothing but segments and scans between.

    A decoder fills in what is missing; a picture that is half made up must not be judged.
    """
    at = 2
    if data[:2] != _START:
        return False
    while at + 4 <= len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        # Frame headers, tables, application data and comments; nothing else stands between the scans.
        if not (0xC0 <= kind <= 0xCF or kind in (_SCAN, 0xDB, 0xDC, 0xDD) or 0xE0 <= kind <= 0xFE):
            return False
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if kind == _SCAN:
            found = _MARKER.search(data, at)
            if found is None:
                return False
            at = found.start()
            if data[at + 1] == _END:
                return not data[at + 2 :].strip(b"\x00\r\n\xff")
    return False
