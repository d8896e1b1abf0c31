"""A frame and what was found in it: what a line hands to whoever shows or stores it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import FrameError
from ..images.preprocess import Image, as_bgr8
from ..inspection.result import InspectionResult
from ..path_text import encodable
from ..sources.base import Frame
from .overlay import draw_overlay

__all__ = ["Record"]

_NO_PICTURE = (480, 640, 3)


@dataclass(frozen=True)
class Record:
    """A frame and what was found in it."""

    frame: Frame
    result: InspectionResult
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def overlay(self) -> Image:
        """The annotated frame, drawn once however many sinks want it; a grey field where there is no picture."""
        with self._lock:
            return self._overlay

    @cached_property
    def _overlay(self) -> Image:
        return draw_overlay(self.picture(), self.result)

    def picture(self) -> Image:
        """The frame as HxWx3 uint8 BGR, not to be changed; a grey field where there is none that can be shown."""
        try:
            return _blank() if self.frame.image is None else as_bgr8(self.frame.image, self.result.preprocess.depth)
        except FrameError:
            return _blank()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: where the frame comes from, then the result; made once however many sinks want them."""
        with self._lock:
            return dict(self._facts)

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return {
            "frame": self.frame.index,
            "name": encodable(self.frame.name),
            "part": encodable(self.frame.part),
            "trigger": self.frame.trigger,
            "time": round(self.frame.time, 6),
            **self.result.to_dict(),
        }

    @cached_property
    def without_image(self) -> Record:
        """The same record without pixels, which may wait in a queue: a few hundred bytes.

        With WARN and NG it keeps the model's map, in which ``to_dict`` looks for regions. That takes milliseconds of
        a large frame, so it is left to whoever asks.
        """
        kept = self.result.model_map if self.result.has_regions else None
        light = replace(self.result, model_map=kept, frame=None)
        return Record(replace(self.frame, image=None), light)


def _blank() -> Image:
    return np.full(_NO_PICTURE, 64, np.uint8)
