"""Files that may not be complete yet, and how long each has stayed as it is."""

from __future__ import annotations

import time
from collections.abc import Container

__all__ = ["Settling"]


class Settling:
    """Gives each file that may not be complete its time; one that changes in it gets all of it again.

    Args:
        seconds: that a file has to stay as it is.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: dict[str, tuple[tuple[int, int], float]] = {}

    def is_on(self, name: str, stamp: tuple[int, int]) -> bool:
        """Whether a file was not known to be complete as it is, a moment ago."""
        seen, until = self._until.get(name, (None, 0.0))
        return seen == stamp and time.monotonic() < until

    def is_over(self, name: str, stamp: tuple[int, int]) -> bool:
        """Whether a file that may not be complete has been as it is for long enough; else its time begins.

        Asked only while ``is_on`` says that it is not.
        """
        if self._until.get(name, (None,))[0] == stamp:
            return True
        self._until[name] = (stamp, time.monotonic() + self._seconds)
        return self._seconds <= 0

    def forget(self, name: str) -> None:
        """What is done with."""
        self._until.pop(name, None)

    def keep(self, there: Container[str]) -> None:
        """Forget all that is not there any more."""
        for name in [name for name in self._until if name not in there]:
            del self._until[name]
