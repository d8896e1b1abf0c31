"""A line for each image on the screen: verdict, score, threshold, name; both programs' ``predict`` print by this."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from ..path_text import encodable
from ..shown import printable
from ..verdict import Verdict

if TYPE_CHECKING:
    from ..display.record import Record

__all__ = ["SortOption", "VerdictLines"]

SortOption = Annotated[
    bool, typer.Option("--sort", help="Print the worst first, when all images are done, in place of each at once.")
]
_WORST = (Verdict.ERROR, Verdict.NG, Verdict.WARN, Verdict.OK)
_HEADER = f"{'verdict':7}  {'score':>9}  {'threshold':>9}  image"


class VerdictLines:
    """Prints what it is given as a sink is; nothing where it is silent.

    Args:
        worst_first: wait for the end and print errors before NG before WARN before OK, the largest scores first.
        silent: print nothing, as where standard output is for JSON.
    """

    def __init__(self, *, worst_first: bool = False, silent: bool = False) -> None:
        self._worst_first, self._silent = worst_first, silent
        self._waiting: list[tuple[int, float, str]] = []
        self._begun = False

    def write(self, record: Record) -> None:
        """Print or keep one line."""
        if self._silent:
            return
        if self._worst_first:
            score = record.result.pred_score
            place = _WORST.index(record.result.verdict)
            self._waiting.append((place, -score if math.isfinite(score) else 0.0, _line(record)))
        else:
            self._print(_line(record))

    def close(self) -> None:
        """Print what was kept."""
        # Of equals the first stays the first.
        for _, _, line in sorted(self._waiting, key=lambda one: one[:2]):
            self._print(line)
        self._waiting.clear()

    def _print(self, line: str) -> None:
        if not self._begun:
            typer.echo(_HEADER)
            self._begun = True
        typer.echo(line)


def _line(record: Record) -> str:
    result = record.result
    score = f"{result.pred_score:.4f}" if math.isfinite(result.pred_score) else "-"
    # One line, whatever a file is called: a name may hold what moves a terminal's cursor, or a line of its own. A
    # file's reason begins with it.
    name = printable(encodable(record.frame.name))
    reason = printable(encodable(result.reason)).removeprefix(name).strip()
    reason = f"  ({reason})" if reason else ""
    return f"{result.verdict!s:7}  {score:>9}  {result.thresholds.image:>9.4f}  {name}{reason}"
