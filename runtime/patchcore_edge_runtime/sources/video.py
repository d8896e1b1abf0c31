"""Recordings: every frame of a video file, and no fewer than the file says it holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import FrameError, SourceError
from ..path_text import path_text
from .base import Frame, Stoppable
from .video_claim import Rhythm, read_claim
from .video_readers import open_reader

__all__ = ["VideoSource"]


class VideoSource(Stoppable):
    """Every frame of a video file; one that the decoder calls damaged is a frame without a picture.

    A file that holds fewer whole frames than it says raises ``SourceError`` with both numbers, after its last frame.
    """

    def __init__(self, path: Path) -> None:
        self._name = path_text(path)
        self._reader = open_reader(path)
        self.fps = self._reader.fps
        self._claim = read_claim(path, self._reader.frames, self.fps)

    def __iter__(self) -> Iterator[Frame]:
        index, whole, rhythm = 0, 0, Rhythm()
        while not self._stopped:
            try:
                image, error = self._reader.read(), ""
            except FrameError as damage:
                image, error = None, str(damage)
            if image is None and not error:
                self._check_end(whole, rhythm)
                return
            yield Frame(index, f"{self._name}#{index}", image, time.time(), error)
            rhythm.add(self._reader.seconds)
            index, whole = index + 1, whole + (image is not None)

    def _check_end(self, given: int, rhythm: Rhythm) -> None:
        if not given:
            raise SourceError(f"{self._name} holds no whole frames; record it again or convert it.")
        if self._claim.missing(given, rhythm):
            about = "" if self._claim.counted else "about "
            raise SourceError(
                f"{self._name} gives {given} whole frames and should hold {about}{self._claim.frames}: it was cut off "
                "or is damaged; record or copy it again. What there is was inspected."
            )

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
