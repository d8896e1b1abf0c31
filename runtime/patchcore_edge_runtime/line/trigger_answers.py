"""Who asked for a frame is told what the line made of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from ..sinks import Record

__all__ = ["TriggerAnswers"]


class TriggerAnswers:
    """To the line a sink like any other; each record goes to the caller whose trigger it answers, by its number.

    So the answer is the line's, whatever verdicts a sink was asked for and however late it is.

    Args:
        trigger: asks the source for a frame of a part and returns the number that the frame will have; 0 when it
            refuses.
        give_up: tells the source that nobody waits any more for the frame of that number.
    """

    def __init__(self, trigger: Callable[[str], int], give_up: Callable[[int], None] | None = None) -> None:
        self._trigger, self._give_up = trigger, give_up
        self._waiting: dict[int, Future[Record]] = {}
        self._lock = threading.Lock()

    def ask(self, part: str = "") -> Future[Record] | None:
        """Ask for one frame, from any thread; returns at once.

        Args:
            part: which part it shows.

        Returns:
            the record to come; None when the source refuses. Who waits no longer cancels it: there will be no verdict
            then but ERROR.
        """
        with self._lock:
            number = self._trigger(part)
            if not number:
                return None
            answer: Future[Record] = Future()
            self._waiting[number] = answer
        answer.add_done_callback(lambda done: self._cancelled(number) if done.cancelled() else None)
        return answer

    def claim(self, number: int) -> bool:
        """Whether a verdict may be recorded for that trigger: somebody waits for it, and will be told.

        From here on it can no longer be cancelled. A frame without a trigger is always its own.
        """
        with self._lock:
            answer = self._waiting.get(number)
            return answer is None or _is_claimed(answer)

    def write(self, record: Record) -> None:
        """Give a record to who asked for it; one whose caller has gone is nobody's."""
        with self._lock:
            answer = self._waiting.pop(record.frame.trigger, None)
            claimed = answer is not None and _is_claimed(answer)
        if answer is not None and claimed:
            answer.set_result(record)

    def close(self) -> None:
        """Nothing is held open; who still waits has a timeout of their own."""

    def _cancelled(self, number: int) -> None:
        if self._give_up is not None:
            self._give_up(number)


def _is_claimed(answer: Future[Record]) -> bool:
    """Whether somebody waits for it, who from now on cannot leave."""
    return not answer.cancelled() and (answer.running() or answer.set_running_or_notify_cancel())
