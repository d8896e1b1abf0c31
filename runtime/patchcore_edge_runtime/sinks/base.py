"""The protocol of all sinks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from ..errors import FrameError
from ..overlay import draw_overlay
from ..preprocess import Image, as_bgr8
from ..result import InspectionResult
from ..sources.base import Frame

__all__ = ["Record", "Sink"]

_NO_PICTURE = (480, 640, 3)


@dataclass(frozen=True)
class Record:
    """A frame and what was found in it."""

    frame: Frame
    result: InspectionResult

    @cached_property
    def overlay(self) -> Image:
        """The annotated frame, drawn once however many sinks want it; a grey field where there is no picture."""
        try:
            canvas = _blank() if self.frame.image is None else as_bgr8(self.frame.image)
        except FrameError:
            canvas = _blank()
        return draw_overlay(canvas, self.result)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values: where the frame comes from, then the result."""
        return {
            "frame": self.frame.index,
            "name": self.frame.name,
            "time": round(self.frame.time, 6),
            **self.result.as_record(),
        }


def _blank() -> Image:
    return np.full(_NO_PICTURE, 64, np.uint8)


class Sink(Protocol):
    """Takes every record, in order."""

    def write(self, record: Record) -> None:
        """Store one record; raises ``ConfigError`` when the place it writes to refuses."""

    def close(self) -> None:
        """Finish what was written; may be called more than once."""
