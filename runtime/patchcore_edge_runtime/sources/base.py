"""The protocol of all sources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any, Protocol

import cv2
from numpy.typing import NDArray

__all__ = ["Frame", "Source", "SourceAround", "Turned", "turned"]

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


@dataclass(frozen=True)
class Frame:
    """One picture of a source.

    Attributes:
        index: counts the frames of a source from 0.
        name: what the source calls it: a file's path as ``path_text`` writes it, or the source and the index.
        image: HxWx3 BGR or HxW, uint8 or uint16; None when it could not be read.
        time: seconds since the epoch at capture.
        error: why there is no image; empty otherwise.
        part: which part it shows, where a trigger said so; empty otherwise.
        trigger: number of the trigger that it answers, counted from 1; 0 when nobody asked for it.
        moment: the same as ``time`` by ``time.monotonic``, which nobody sets back: what its age is told by.
    """

    index: int
    name: str
    image: NDArray[Any] | None
    time: float
    error: str = ""
    part: str = ""
    trigger: int = 0
    moment: float = field(default_factory=monotonic, compare=False)


class Source(Protocol):
    """Frames in order; the iteration ends when the source is at its end or was stopped.

    A live source never ends by itself: a lost one gives a frame without an image, once, and goes on when it is back.

    Attributes:
        fps: the rate it was recorded at, where that is known, and 0 otherwise.
        live: whether frames come at their own pace and are gone when nobody takes them.
    """

    fps: float
    live: bool

    def __iter__(self) -> Iterator[Frame]: ...

    def status(self) -> tuple[str, int]:
        """What it is doing, in a word (``running``, ``connecting``, ``lost``), and how many frames nobody took."""

    def stop(self) -> None:
        """End the iteration after the frame in hand; may be called from a signal handler and from any thread."""

    def close(self) -> None:
        """Let go of files and devices; may be called more than once."""


class Stoppable:
    """What sources have in common that read as fast as they are asked."""

    fps = 0.0
    live = False
    # A plain attribute: a lock could be held by the very thread that the signal handler interrupts.
    _stopped = False

    def status(self) -> tuple[str, int]:
        """Always running, and nothing is left out."""
        return "running", 0

    def stop(self) -> None:
        """End the iteration after the frame in hand."""
        self._stopped = True

    def close(self) -> None:
        """Nothing is held open between two frames."""


def turned(image: NDArray[Any], degrees: int) -> NDArray[Any]:
    """A picture turned clockwise by 90, 180 or 270 degrees."""
    return cv2.rotate(image, _TURNS[degrees])


class SourceAround:
    """What sources have in common that do something to the frames of another one: all but the iteration is that one's.

    Args:
        source: the inner one.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.fps, self.live = source.fps, source.live

    def status(self) -> tuple[str, int]:
        """The inner source's."""
        return self._source.status()

    def stop(self) -> None:
        """End the iteration after the frame in hand."""
        self._source.stop()

    def close(self) -> None:
        """Close the inner source."""
        self._source.close()


class Turned(SourceAround):
    """A source whose pictures are turned.

    Args:
        source: that can wait; a live one turns its pictures itself.
        degrees: clockwise: 90, 180 or 270.
    """

    def __init__(self, source: Source, degrees: int) -> None:
        super().__init__(source)
        self._degrees = degrees

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._source:
            yield frame if frame.image is None else replace(frame, image=turned(frame.image, self._degrees))
