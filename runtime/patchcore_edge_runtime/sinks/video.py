"""The annotated video."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..errors import ConfigError
from .base import Record

__all__ = ["VideoSink"]

_DEFAULT_FPS = 10.0


class VideoSink:
    """Writes the overlay of every frame as MPEG-4; frames of another size are scaled to the first one's.

    Args:
        path: ``.mp4`` file to write.
        fps: frames per second of the recording; 10 where the source does not know.
    """

    def __init__(self, path: Path, fps: float = 0.0) -> None:
        self._path = path
        self._fps = fps or _DEFAULT_FPS
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, record: Record) -> None:
        """Append one frame."""
        picture = record.overlay
        if self._writer is None:
            self._size = (picture.shape[1], picture.shape[0])
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._path), codec, self._fps, self._size)
            if not self._writer.isOpened():
                raise ConfigError(f"{self._path} cannot be written as video; give a path that ends in .mp4.")
        if picture.shape[1::-1] != self._size:
            picture = cv2.resize(picture, self._size).astype(np.uint8, copy=False)
        self._writer.write(picture)

    def close(self) -> None:
        """Write the index that makes the file playable."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
