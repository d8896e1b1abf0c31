"""Frames as image files."""

from __future__ import annotations

from pathlib import Path

import cv2

from ..errors import ConfigError
from ..preprocess import Image
from ..verdict import Verdict
from .base import Record

__all__ = ["NgImageSink", "OverlaySink", "write_image"]


def write_image(path: Path, image: Image) -> None:
    """Encode by the path's suffix and write; raises ``ConfigError`` when the disk refuses."""
    done, data = cv2.imencode(path.suffix, image)
    if not done:
        raise ConfigError(f"OpenCV cannot write {path.suffix} images; choose .png or .jpg.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not cv2.imwrite: it says nothing when the disk is full.
        data.tofile(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}); choose another place.") from None


class OverlaySink:
    """The annotated picture of every frame, named after its file or its number."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, record: Record) -> None:
        """Write one PNG."""
        write_image(self._folder / f"{_stem(record)}.png", record.overlay)

    def close(self) -> None:
        """Nothing is held open."""


class NgImageSink(OverlaySink):
    """Of every NG, WARN and ERROR frame the annotated picture, and the frame itself where there is one."""

    def write(self, record: Record) -> None:
        """Write the frame and its overlay."""
        if record.result.verdict is Verdict.OK:
            return
        stem = f"{_stem(record)}_{record.result.verdict}"
        write_image(self._folder / f"{stem}_overlay.png", record.overlay)
        if record.frame.image is not None:
            write_image(self._folder / f"{stem}.png", record.frame.image)


def _stem(record: Record) -> str:
    name = Path(record.frame.name).stem if "#" not in record.frame.name else "frame"
    return f"{record.frame.index:06d}_{name}"
