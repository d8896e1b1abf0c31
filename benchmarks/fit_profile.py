"""What is left of a fit and of its coreset, part by part: sections of ``docs/performance.md``."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from typing import NamedTuple

from torch import Tensor

from patchcore_edge.models import KCenterGreedy

from .limits import limits
from .row import Times

__all__ = ["import_profile", "pool_profile"]

_SHOWN = 10
_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)")
_APART = ("torch._dynamo", "torch.distributed")
_WHAT = "patchcore_edge.jobs.evaluate"


def import_profile() -> str:
    """Whose modules the imports of a fit spend their time in, by Python's own count (``-X importtime``)."""
    command = [sys.executable, "-X", "importtime", "-c", f"import {_WHAT}"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    taken, modules = Counter[str](), Counter[str]()
    for microseconds, module in _LINE.findall(told):
        package = next((name for name in _APART if module.startswith(name)), module.partition(".")[0])
        taken[package] += int(microseconds)
        modules[package] += 1
    whole = taken.total()
    lines = [
        f"| {package} | {modules[package]:,} | {share / whole:.0%} |" for package, share in taken.most_common(_SHOWN)
    ]
    shown = [package for package, _ in taken.most_common(_SHOWN)]
    rest = 1 - sum(taken[package] for package in shown) / whole
    others = modules.total() - sum(modules[package] for package in shown)
    return "\n".join(
        [
            f"\n## A fit's imports: whose modules take how much of the {whole / 1e6:.2g} s\n",
            "| package | modules | share |",
            "|---|---|---|",
            *lines,
            f"| {len(taken) - len(shown)} others | {others:,} | {rest:.0%} |\n",
        ]
    )


class _Pass(NamedTuple):
    """One pass over the pool: picks, rows whose distance it lowered, rows that it could have lowered, as shares."""

    picks: int
    lowered: float
    possible: float


class _Watched(KCenterGreedy):
    """Greedy selection that notes how many rows each pass was for."""

    def __init__(self, pool: Tensor, ratio: float) -> None:
        super().__init__(pool, ratio)
        self.passes: list[_Pass] = []

    def _update(self, nearest: Tensor, norms: Tensor, picks: list[int], centers: Tensor) -> None:
        before, farthest = nearest.clone(), min(self.pick_distances[-len(picks) :])
        super()._update(nearest, norms, picks, centers)
        if self.rounds:
            # Two picks lie at least so far apart, so a point within half of that of one is nearer to no other.
            possible = (before > farthest * farthest / 4).float().mean()
            self.passes.append(_Pass(len(picks), float((nearest < before).float().mean()), float(possible)))


def pool_profile(pool: Tensor, ratio: float, taken: Times) -> str:
    """What the passes of a selection are for, and how near its products are to what the machine can do.

    Args:
        pool: ``[n, d]``.
        ratio: of the selection.
        taken: by the selection as it is.
    """
    watched = _Watched(pool, ratio)
    picks = watched.select_coreset_idxs()
    whole = sum(one.picks for one in watched.passes)
    lowered, possible = (
        sum(one.picks * getattr(one, name) for one in watched.passes) / whole for name in ("lowered", "possible")
    )
    operations = 2.0 * pool.numel() * len(picks)
    return (
        f"\nThe products alone are {limits().of_products(operations, taken.median)}. A product lowers a row's distance "
        f"in {lowered:.0%} of the rows of a pass; the triangle inequality could tell beforehand that it does not in "
        f"{1 - possible:.0%}. What half precision could leave out is therefore at most "
        f"{1 - lowered:.0%} of the float32 products, and it costs {_cost_of_half(operations, taken)} to find out.\n"
    )


def _cost_of_half(operations: float, taken: Times) -> str:
    peak = limits().bf16
    if peak is None:
        return "more than they do on this CPU"
    return f"{operations / peak / taken.median:.0%} of the time in bf16 products alone"
