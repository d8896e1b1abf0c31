"""A line of the benchmark's table, and how it is timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Row", "Times", "alternating", "repeated"]

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Times:
    """Seconds that the same thing took, again and again."""

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    def spread(self) -> str:
        """The median and, where there is more than one, the quartiles (of few: all) of the times, for people."""
        scale, unit = (1.0, "s") if self.median >= 1 else (1e3, "ms")
        text = f"{self.median * scale:.3g} {unit}"
        if len(self.seconds) == 1:
            return f"{text} (once)"
        few = len(self.seconds) < 8
        low, high = (min(self.seconds), max(self.seconds)) if few else statistics.quantiles(self.seconds, n=4)[::2]
        return f"{text} ({low * scale:.3g}–{high * scale:.3g})"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: was done.
        ours, peer: what it took, for people.
        result: the ratio, or what else the design asks for, for people.
        reach: what the design asks for.
        reached: whether it was.
        check: that both sides did the same work, and how that is known.
        limit: ours as a share of what this machine can do at most; a dash where nothing can be said.
    """

    what: str
    ours: str
    peer: str
    result: str
    reach: str
    reached: bool
    check: str
    limit: str = "–"


def repeated(work: Callable[[int], object], count: int) -> Times:
    """Time ``work(0)``, ``work(1)`` …"""
    seconds = []
    for number in range(count):
        start = time.perf_counter()
        work(number)
        seconds.append(time.perf_counter() - start)
    return Times(seconds)


def alternating(
    runners: Mapping[str, Callable[[_Item], object]], items: Iterable[_Item], rounds: int
) -> dict[str, Times]:
    """Time several things on the same items, one right after the other, so that a slow spell meets all of them.

    Each sees every item once before the clock runs.
    """
    items = list(items)
    for run in runners.values():
        for item in items:
            run(item)
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for item in items:
            for name, run in runners.items():
                start = time.perf_counter()
                run(item)
                seconds[name].append(time.perf_counter() - start)
    return {name: Times(values) for name, values in seconds.items()}
