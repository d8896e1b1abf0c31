"""Who asked for a frame is told what the line made of it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from ..sinks import Record

__all__ = ["TriggerAnswers"]

# Clocks are read in floating point on both sides.
_TOLERANCE_SECONDS = 1e-3


@dataclass(frozen=True)
class _Waiting:
    part: str
    asked: float
    answer: Future[Record] = field(default_factory=Future)


class TriggerAnswers:
    """To the line a sink like any other; each record goes to the caller whose frame it shows.

    So the answer is the line's, whatever verdicts a sink was asked for and however late it is.

    Args:
        trigger: asks the source for a frame of a part; False when it refuses.
    """

    def __init__(self, trigger: Callable[[str], bool]) -> None:
        self._trigger = trigger
        self._waiting: deque[_Waiting] = deque()
        self._lock = threading.Lock()

    def ask(self, part: str = "") -> Future[Record] | None:
        """Ask for one frame, from any thread; returns at once.

        Args:
            part: which part it shows.

        Returns:
            the record to come; None when the source refuses. Who waits no longer cancels it.
        """
        waiting = _Waiting(part, time.time())
        with self._lock:
            if not self._trigger(part):
                return None
            self._waiting.append(waiting)
        return waiting.answer

    def write(self, record: Record) -> None:
        """Give a record to who asked for it first; a frame from before the call is nobody's answer."""
        frame = record.frame
        with self._lock:
            mine = next((w for w in self._waiting if _is_answer(frame.part, frame.time, w)), None)
            if mine is not None:
                self._waiting.remove(mine)
        if mine is not None and mine.answer.set_running_or_notify_cancel():
            mine.answer.set_result(record)

    def close(self) -> None:
        """Nothing is held open; who still waits has a timeout of their own."""


def _is_answer(part: str, moment: float, waiting: _Waiting) -> bool:
    return part == waiting.part and moment >= waiting.asked - _TOLERANCE_SECONDS
