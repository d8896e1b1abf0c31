"""The newest picture and the newest results, handed from the sink's thread to the server's."""

from __future__ import annotations

import threading
from collections import deque

import cv2
import numpy as np

from ...display.record import Record
from ...images.files import encode_image
from ...images.preprocess import Image

__all__ = ["LiveView"]


class LiveView:
    """What the sink's thread hands to the server's thread: the newest record and the facts of those before.

    Args:
        keep: records whose facts are kept.
        width: of the picture in pixels, at most.

    Attributes:
        number: of records taken; changes with the picture.
    """

    def __init__(self, keep: int, width: int) -> None:
        self.number = 0
        self._width = width
        self._facts: deque[dict[str, object]] = deque(maxlen=keep)
        self._record: Record | None = None
        self._jpeg: tuple[int, bytes] = (0, b"")
        self._lock = threading.Lock()

    def add(self, record: Record) -> None:
        """Take one record."""
        facts = record.to_dict()
        with self._lock:
            self._record = record
            self._facts.appendleft(facts)
            self.number += 1

    def results(self) -> list[dict[str, object]]:
        """The facts kept, the newest first."""
        with self._lock:
            return list(self._facts)

    def jpeg(self) -> tuple[int, bytes]:
        """The newest annotated picture and its number, encoded once for all viewers; a grey field before the first."""
        with self._lock:
            record, number, known = self._record, self.number, self._jpeg
        if known[0] == number and known[1]:
            return known
        picture = np.full((480, 640, 3), 64, np.uint8) if record is None else record.overlay
        fresh = (number, encode_image(self._fit(picture), ".jpg"))
        with self._lock:
            self._jpeg = max(self._jpeg, fresh)
        return fresh

    def _fit(self, picture: Image) -> Image:
        height, width = picture.shape[:2]
        if width <= self._width:
            return picture
        size = (self._width, max(1, round(height * self._width / width)))
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
