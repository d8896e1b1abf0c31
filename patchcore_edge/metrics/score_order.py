"""Whether good images score alike from the first file to the last, or a stretch of them stands apart.

The calibrated false-reject rate holds for parts like those that were calibrated with. Files are usually named in the
order in which they were taken, so a stretch of files that scores higher or lower than the rest (another lot, another
lamp) says that not all good parts are alike, and that the next lot may be another still.

The test replaces the scores by their ranks, subtracts the mean rank, and sums along the files. If the order means
nothing, the sums divided by √n times the ranks' standard deviation walk like a Brownian bridge, and the distance
between their highest and lowest point follows Kuiper's law (Kuiper 1960, "Tests concerning random points on a circle"):
P(distance > x) = 2 Σ (4j²x² − 1) exp(−2j²x²), j = 1, 2, … A walk of n steps does not reach as far as the bridge, by
0.583 of a step at either end (Siegmund 1985, "Sequential Analysis", chapter 10); one step in all is made good, so that
false alarms stay below the stated rate. 16 files are the fewest that can tell anything. The stretch named is the one
whose mean rank differs most from the others', in units of its standard deviation under any order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["FALSE_ALARMS", "Shift", "file_order", "find_shift"]

FALSE_ALARMS = 0.01
"""Share of data sets without a shift for which one is reported, at most."""


@dataclass(frozen=True)
class Shift:
    """A stretch of files whose scores are not like the others'.

    Attributes:
        start, stop: of the stretch in file order, ``stop`` not in it.
        first, last: names of its files at either end.
        higher: whether it is the stretch that scores higher.
        inside, outside: median raw score of the stretch and of all others.
        spread: between the quartiles of all others: by how much good parts differ anyway.
        p_value: probability of a shift as clear as this if the order meant nothing.
    """

    start: int
    stop: int
    first: str
    last: str
    higher: bool
    inside: float
    outside: float
    spread: float
    p_value: float

    @property
    def is_large(self) -> bool:
        """Whether the medians are farther apart than the others' quartiles, so that one threshold cannot fit both."""
        return abs(self.inside - self.outside) > self.spread

    def __str__(self) -> str:
        """One sentence with the files' names and both medians."""
        which = f"Images {self.first} to {self.last} score" if self.stop - self.start > 1 else f"{self.first} scores"
        than = "higher" if self.higher else "lower"
        return f"{which} {than} than the rest: median {self.inside:#.4g} against {self.outside:#.4g}."


def file_order(paths: Sequence[Path]) -> list[int]:
    """Indices of files in the order of their folders and names, numbers in them by value: 9.png before 10.png."""
    return sorted(range(len(paths)), key=lambda i: [_pieces(part) for part in paths[i].parts])


def find_shift(scores: NDArray[np.floating], names: Sequence[str], false_alarms: float = FALSE_ALARMS) -> Shift | None:
    """The stretch of files that stands apart; None where the scores are as they would be in any order.

    Args:
        scores: ``[n]`` finite raw image scores of good images in file order, each from a bank that has not seen it.
        names: of the n files.
        false_alarms: share of data sets without a shift for which one may be reported, in (0, 1).
    """
    n = len(scores)
    ranks = _ranks(scores)
    steps = ranks - ranks.mean() if n else ranks
    scale = math.sqrt(n * float((steps**2).mean())) if n else 0.0
    if scale == 0:
        return None
    walk = np.concatenate([[0.0], np.cumsum(steps)]) / scale
    p_value = _kuiper(float(np.ptp(walk)) + 1 / math.sqrt(n))
    if p_value > false_alarms:
        return None
    start, stop = _clearest(walk)
    # Where the rest is one stretch as well, the shorter of the two is the one to look at.
    if (start == 0 or stop == n) and stop - start > n / 2:
        start, stop = (stop, n) if start == 0 else (0, start)
    higher = bool(walk[stop] > walk[start])
    inside = np.zeros(n, np.bool_)
    inside[start:stop] = True
    lower, middle, upper = (float(value) for value in np.percentile(scores[~inside], (25, 50, 75)))
    median = float(np.median(scores[inside]))
    return Shift(start, stop, names[start], names[stop - 1], higher, median, middle, upper - lower, p_value)


def _clearest(walk: NDArray[np.float64]) -> tuple[int, int]:
    """Where the stretch begins and ends whose sum of ranks is farthest from what it would be in any order."""
    n = len(walk) - 1
    best, found = 0.0, (0, n)
    for start in range(n):
        length = np.arange(1, n - start + 1)
        # √(L(n − L)) is the standard deviation of such a sum, but for a constant; the whole has none.
        clear = np.abs(walk[start + 1 :] - walk[start]) / np.sqrt(np.maximum(length * (n - length), 1))
        at = int(clear.argmax())
        if clear[at] > best:
            best, found = float(clear[at]), (start, start + at + 1)
    return found


def _ranks(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ranks from 1; equal scores share the middle of theirs."""
    _, which, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[which], np.float64)


def _kuiper(distance: float) -> float:
    if distance < 0.6:
        return 1.0  # more than 0.999 up to here, and the series converges ever more slowly
    j = np.arange(1, 30)
    square = (j * distance) ** 2
    return float(min(max(2 * ((4 * square - 1) * np.exp(-2 * square)).sum(), 0.0), 1.0))


def _pieces(text: str) -> list[tuple[bool, int, str]]:
    """A name in pieces that compare as people count: numbers by value, and before words."""
    pieces = [piece for piece in re.split(r"(\d+)", text) if piece]
    return [(False, int(piece), piece) if piece.isdecimal() else (True, 0, piece) for piece in pieces]
