"""N of M: a part is NG when N of its last M frames are."""

from __future__ import annotations

from collections import deque

from pydantic import Field, PositiveInt, model_validator

from ..validation import Settings
from ..verdict import Verdict

__all__ = ["Debounce", "DebounceRule"]


class DebounceRule(Settings):
    """``ng`` of ``of`` frames of a part must be NG for the part to be NG.

    Attributes:
        ng: NG frames that make a part NG.
        of: the newest frames that are looked at.
    """

    ng: PositiveInt = 1
    of: PositiveInt = Field(default=1, le=10_000)

    @model_validator(mode="after")
    def _check(self) -> DebounceRule:
        if self.ng > self.of:
            raise ValueError(f"{self.ng} of {self.of} frames can never be NG")
        return self


class Debounce:
    """The verdict of the part after each of its frames.

    Where NG is not yet reached but one frame was NG or WARN, the part is WARN: seen, and not confirmed. A frame that
    could not be judged is ERROR at once; one in the window keeps the part at ERROR as long as it could have been the
    frame that NG still needs.
    """

    def __init__(self, rule: DebounceRule) -> None:
        self._rule = rule
        self._part = ""
        self._window: deque[Verdict] = deque(maxlen=rule.of)

    def add(self, verdict: Verdict, part: str = "") -> Verdict:
        """Take the next frame's verdict; another ``part`` than before starts a new window."""
        if part != self._part:
            self._part = part
            self._window.clear()
        self._window.append(verdict)
        bad, unknown = self._window.count(Verdict.NG), self._window.count(Verdict.ERROR)
        if bad >= self._rule.ng:
            return Verdict.NG
        if verdict is Verdict.ERROR or (unknown and bad + unknown >= self._rule.ng):
            return Verdict.ERROR
        return Verdict.WARN if bad or Verdict.WARN in self._window else Verdict.OK
