"""Video files through OpenCV."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import cv2

from ..errors import SourceError
from ..images.size_limit import video_fault
from ..path_text import path_text
from .base import Frame, Stoppable

__all__ = ["VideoSource"]


class VideoSource(Stoppable):
    """Every frame of a video file."""

    def __init__(self, path: Path) -> None:
        self._name = path_text(path)
        try:
            self._capture = cv2.VideoCapture(str(path))
        except UnicodeEncodeError:
            raise SourceError(f"{path} cannot be opened: OpenCV takes UTF-8 names only; rename it.") from None
        if not self._capture.isOpened():
            raise SourceError(f"{path} cannot be opened; check that it is a video that OpenCV can read.")
        if fault := video_fault(self._capture):
            raise SourceError(f"{self._name} {fault}")
        self.fps = max(0.0, float(self._capture.get(cv2.CAP_PROP_FPS)))

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while not self._stopped:
            more, image = self._capture.read()
            if not more:
                break
            yield Frame(index, f"{self._name}#{index}", image, time.time())
            index += 1
        if not index and not self._stopped:
            raise SourceError(f"{self._name} holds no frames; record it again or convert it.")

    def close(self) -> None:
        """Close the file."""
        self._capture.release()
