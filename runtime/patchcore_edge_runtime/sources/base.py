"""The protocol of all sources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

__all__ = ["Frame", "Source"]


@dataclass(frozen=True)
class Frame:
    """One picture of a source.

    Attributes:
        index: counts the frames of a source from 0.
        name: what the source calls it: a file's path, or the source and the index.
        image: HxWx3 BGR or HxW, uint8 or uint16; None when it could not be read.
        time: seconds since the epoch at capture.
        error: why there is no image; empty otherwise.
    """

    index: int
    name: str
    image: NDArray[Any] | None
    time: float
    error: str = ""


class Source(Protocol):
    """Frames in order. Iterating raises ``SourceError`` when the source is lost, and just ends when it is at its end.

    ``fps`` is the rate it was recorded at, where that is known, and 0 otherwise.
    """

    fps: float

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Let go of files and devices; may be called more than once."""
