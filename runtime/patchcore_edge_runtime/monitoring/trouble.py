"""What does not work, and since when."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["Trouble"]


class Trouble:
    """Why something does not work now; any thread may say, clear and read it.

    Attributes:
        state: what was said last, and since when something has been wrong without a pause (ISO 8601, UTC); two empty
            texts while all is well.
    """

    def __init__(self, text: str = "") -> None:
        self.state = ("", "")
        self.say(text)

    @property
    def text(self) -> str:
        """What was said last; empty while all is well."""
        return self.state[0]

    def say(self, text: str) -> None:
        """Something is wrong, or still wrong in other words; an empty text says that it is not."""
        # One assignment, so that nobody reads the words of one trouble with the time of another.
        self.state = (text, self.state[1] or datetime.now(UTC).isoformat(timespec="seconds")) if text else ("", "")

    def clear(self) -> None:
        """All is well again."""
        self.say("")
