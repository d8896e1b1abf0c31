"""The protocol of all sinks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, PositiveInt

from ..display.overlay import draw_overlay
from ..errors import ConfigError, FrameError
from ..images.preprocess import Image, as_bgr8
from ..inspection.result import InspectionResult
from ..monitoring.status import LineStatus
from ..sources.base import Frame
from ..verdict import Verdict

__all__ = ["LineSink", "Record", "Sink", "SinkContext", "SinkSettings", "missing_extra", "secret", "token"]

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
            return _blank() if self.frame.image is None else as_bgr8(self.frame.image)
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
            "name": self.frame.name,
            "part": self.frame.part,
            "time": round(self.frame.time, 6),
            **self.result.to_dict(),
        }

    @cached_property
    def without_pictures(self) -> Record:
        """The same record without pixels, which may wait in a queue: a few hundred bytes.

        With WARN and NG it keeps the model's map, in which ``to_dict`` looks for regions. That takes milliseconds of
        a large frame, so it is left to whoever asks.
        """
        light = self.result if self.result.has_regions else replace(self.result, model_map=None)
        return Record(replace(self.frame, image=None), light)


def _blank() -> Image:
    return np.full(_NO_PICTURE, 64, np.uint8)


class Sink(Protocol):
    """Takes every record, in order."""

    def write(self, record: Record) -> None:
        """Store one record; raises ``ConfigError`` when the place it writes to refuses."""

    def close(self) -> None:
        """Finish what was written; may be called more than once."""


class SinkSettings(BaseModel):
    """What every ``[sinks.<name>]`` table may say; each sink adds its own keys.

    Attributes:
        verdicts: the records to store; all of them unless said otherwise.
        queue: records that may wait for a slow sink before further ones are dropped and counted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdicts: tuple[Verdict, ...] = tuple(Verdict)
    queue: PositiveInt = 512


@dataclass(frozen=True)
class SinkContext:
    """What a line tells its sinks.

    Attributes:
        status: the line's counters, for those who show them.
        fps: frames per second of the source; 0 where it does not know.
        folder: what relative paths are relative to.
        trigger: asks the source for one frame of the part of that name, and returns False when it refuses; None where
            the source runs free.
        live: the source cannot wait, so a slow sink loses records rather than delaying verdicts.
    """

    status: LineStatus = field(default_factory=LineStatus)
    fps: float = 0.0
    folder: Path = field(default_factory=Path)
    trigger: Callable[[str], bool] | None = None
    live: bool = True


class LineSink(Sink, Protocol):
    """A sink that a line's configuration can name.

    Attributes:
        Settings: the pydantic model of its table.
        pictures: whether it needs pixels; the others are given records without, which may wait in numbers.
    """

    Settings: ClassVar[type[SinkSettings]]
    pictures: ClassVar[bool]

    @classmethod
    def from_settings(cls, settings: Any, context: SinkContext) -> Self:
        """Build the sink from its own ``Settings``; raises ``ConfigError`` when its place refuses."""


def missing_extra(extra: str) -> ConfigError:
    """The error for an optional dependency that is not installed."""
    return ConfigError(f"The {extra} sink needs pip install 'patchcore-edge-runtime[{extra}]'.")


def token(variable: str | None) -> str | None:
    """A secret that travels in an HTTP header, which takes ASCII only."""
    text = secret(variable)
    if text is not None and not (text.isascii() and text.isprintable()):
        raise ConfigError(f"The token in {variable} has characters beyond ASCII; choose letters and digits.")
    return text


def secret(variable: str | None) -> str | None:
    """A password or token from the environment variable of that name; None when no variable is named.

    Raises:
        ConfigError: the variable is not set or empty.
    """
    if variable is None:
        return None
    value = os.environ.get(variable, "")
    if not value:
        raise ConfigError(f"The environment variable {variable} is not set; put the secret there.")
    return value
