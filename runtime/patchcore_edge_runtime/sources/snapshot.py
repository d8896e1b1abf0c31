"""A camera that gives one picture for each GET."""

from __future__ import annotations

import http.client
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FrameError, SourceError
from ..images.files import decode_bgr8
from ..images.jpeg import START, whole_jpeg
from .http_client import HttpCamera

__all__ = ["SnapshotCapture"]

_MAX_PICTURE_BYTES = 64 << 20
_FILL = b"\x00\r\n \t"


class SnapshotCapture:
    """Asks for a picture again and again.

    Args:
        camera: to ask.
        response: its answer to the first question, whose body is the first picture.
        interval: seconds from one question to the next.

    Attributes:
        fps: pictures per second.
        interval: seconds that a live source waits between two of them.
    """

    def __init__(self, camera: HttpCamera, response: http.client.HTTPResponse, interval: float) -> None:
        self._camera = camera
        self.interval, self.fps = interval, 1.0 / interval
        self._first: http.client.HTTPResponse | None = response

    def read(self) -> NDArray[Any]:
        """The next picture, BGR; one that is cut off or damaged raises ``FrameError``."""
        response, self._first = self._first or self._camera.get(), None
        data = self._body(response)
        if data.lstrip(_FILL).startswith(START):
            # It says itself where it ends; lengths are often wrong.
            data = whole_jpeg(data) or b""
        elif response.length:
            data = b""
        image = decode_bgr8(np.frombuffer(data, np.uint8))
        if image is None:
            self._camera.close()
            raise FrameError(f"{self._camera.name} sent no whole picture; check the network and the camera.")
        return image

    def close(self) -> None:
        """Hang up."""
        self._camera.close()

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        try:
            data = response.read(_MAX_PICTURE_BYTES + 1)
        except http.client.IncompleteRead:
            self._camera.close()
            raise FrameError(f"{self._camera.name} cut a picture off; check the network and the camera.") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._camera.close()
            raise SourceError(
                f"{self._camera.name} stopped giving pictures ({error or type(error).__name__})"
            ) from None
        if len(data) > _MAX_PICTURE_BYTES:
            self._camera.close()
            raise SourceError(f"{self._camera.name} sends pictures of an impossible size")
        return data
