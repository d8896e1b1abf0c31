"""One connection to a camera or stream: what it reads with, how far it has come, and its end."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from ..logs import log_failure

__all__ = ["Capture", "Connection", "let_go"]

_LOG = logging.getLogger(__name__)


class Capture(Protocol):
    """An open camera or stream, used from one thread.

    One whose frames do not come by themselves has an ``interval``: the seconds from one question to the next.

    Attributes:
        fps: frames per second; 0 where that is not known.
    """

    fps: float

    def read(self) -> NDArray[Any]:
        """The next frame; raises ``FrameError`` for one that is broken and ``SourceError`` when there are no more."""

    def close(self) -> None:
        """Let go of it."""


@dataclass
class Connection:
    """One attempt, with a thread of its own that may hang.

    Attributes:
        progress: ``time.monotonic`` of its last sign of life.
        opened: it has answered.
        frames: read so far, broken ones too.
        reason: why it ended.
        done: its thread has ended.
        abandoned: nobody waits for it any more.
    """

    progress: float
    opened: bool = False
    frames: int = 0
    reason: str = ""
    done: bool = False
    abandoned: bool = False


def let_go(capture: Capture) -> None:
    """Close it, whatever its driver throws."""
    try:
        capture.close()
    except Exception as error:  # noqa: BLE001
        log_failure(_LOG, "A connection to a camera could not be closed; another one is opened.", error)
