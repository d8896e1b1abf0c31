"""Whether a line does what it is there for: it judges, and its verdicts arrive where they have to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .status import Snapshot

__all__ = ["Health", "health_of"]


@dataclass(frozen=True)
class Health:
    """The health of a line at one moment; its sentences name machines and reasons of no sink, which are in the status.

    Attributes:
        stopped: why nothing is judged; empty while frames are.
        unsent: the required sinks that fail, each in a sentence.
        degraded: the other sinks that fail, each in a sentence.
    """

    stopped: str = ""
    unsent: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """Why the line is unhealthy; empty while it is not."""
        return self.stopped or " ".join(self.unsent)

    @property
    def state(self) -> Literal["healthy", "degraded", "unhealthy"]:
        """In one word."""
        return "unhealthy" if self.problem else "degraded" if self.degraded else "healthy"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "healthy": not self.problem,
            "state": self.state,
            "problem": self.problem,
            "stopped": bool(self.stopped),
            "degraded": list(self.degraded),
        }


def health_of(now: Snapshot, stale_seconds: float | None) -> Health:
    """The health of the line that a snapshot is of.

    Args:
        now: its figures.
        stale_seconds: silence that counts as standing still;
            None where a line may be silent: with triggers, or a folder that it watches.
    """
    stopped = ""
    if now.source != "running":
        stopped = f"The source is {now.source}."
    elif stale_seconds is not None and now.idle_seconds > stale_seconds:
        stopped = f"There was no verdict for {now.idle_seconds:.0f} s."
    failing = [(name, sink) for name, sink in now.sinks.items() if sink.failing_since]
    return Health(
        stopped,
        tuple(f"The required sink {name} fails since {sink.failing_since}." for name, sink in failing if sink.required),
        tuple(f"The sink {name} fails since {sink.failing_since}." for name, sink in failing if not sink.required),
    )
