"""Frames that a Python program has."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from numpy.typing import NDArray

from .base import Frame, Stoppable

__all__ = ["IterableSource"]


class IterableSource(Stoppable):
    """The pictures of an iterable, as ``Inspector`` takes them; ``None`` stands for one that could not be had."""

    def __init__(self, images: Iterable[NDArray[Any] | None], name: str = "frame", fps: float = 0.0) -> None:
        self._images, self._name, self.fps = images, name, fps

    def __iter__(self) -> Iterator[Frame]:
        for index, image in enumerate(self._images):
            if self._stopped:
                return
            error = "There is no picture." if image is None else ""
            yield Frame(index, f"{self._name}#{index}", image, time.time(), error)
