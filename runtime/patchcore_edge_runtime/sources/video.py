"""Videos and cameras through OpenCV."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import cv2

from ..errors import SourceError
from .base import Frame

__all__ = ["CameraSource", "VideoSource"]


class _Capture:
    def __init__(self, target: str | int, name: str) -> None:
        self._name = name
        self._capture = cv2.VideoCapture(target)
        if not self._capture.isOpened():
            raise SourceError(f"{name} cannot be opened; check that it is there and that OpenCV can read it.")
        self.fps = max(0.0, float(self._capture.get(cv2.CAP_PROP_FPS)))

    def _frames(self) -> Iterator[Frame]:
        index = 0
        while True:
            more, image = self._capture.read()
            if not more:
                return
            yield Frame(index, f"{self._name}#{index}", image, time.time())
            index += 1

    def close(self) -> None:
        self._capture.release()


class VideoSource(_Capture):
    """Every frame of a video file."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), str(path))

    def __iter__(self) -> Iterator[Frame]:
        count = 0
        for frame in self._frames():
            count += 1
            yield frame
        if not count:
            raise SourceError(f"{self._name} holds no frames; record it again or convert it.")


class CameraSource(_Capture):
    """A camera index or a stream URL; it never ends by itself, so its end is a loss."""

    def __init__(self, target: int | str) -> None:
        super().__init__(target, f"camera {target}" if isinstance(target, int) else target)

    def __iter__(self) -> Iterator[Frame]:
        yield from self._frames()
        raise SourceError(f"{self._name} stopped giving frames; check cable, power and network and start again.")
