"""Image files, one by one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import DataError, SourceError
from ..images.files import read_image
from ..path_text import path_text
from .base import Frame, Stoppable

__all__ = ["ImageSource"]


class ImageSource(Stoppable):
    """The given files in order; one that cannot be read becomes a frame without an image."""

    def __init__(self, files: Sequence[Path], name: str) -> None:
        if not files:
            raise SourceError(f"{name} holds no images; give one or more that can be read.")
        self._files = list(files)

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self._files):
            if self._stopped:
                return
            try:
                yield Frame(index, path_text(path), read_image(path), time.time())
            except DataError as error:
                yield Frame(index, path_text(path), None, time.time(), str(error))
