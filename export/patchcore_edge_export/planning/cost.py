"""What a search costs, for choosing among plans: in units of one product of integers on a CPU.

The unit costs are ratios of times that OpenVINO's own profile gives (``benchmarks/nodes.py``), on a CPU with VNNI.
"""

from __future__ import annotations

from torch import Tensor

from ..graph.fast_search import GROUP_SIZE, FastPlan

__all__ = ["search_cost"]

_FLOAT = 5
"""A product of floats."""
_DISTANCE = 140
"""Writing a distance and looking at it once."""
_RANKED = 670
"""The same where the nearest are to be named, not just the nearest's distance."""
_GATHERED = 160
"""A coordinate of a candidate: fetched, subtracted, squared."""


def search_cost(bank: Tensor, patches: int, plan: FastPlan | None) -> float:
    """Of an image with so many patches against a ``[M, D]`` bank; exact search without a plan."""
    size, dimension = bank.shape
    if plan is None:
        return _FLOAT * patches * size * dimension
    share = 1 / GROUP_SIZE + plan.shortlist / patches if plan.shortlist else 1.0
    coarse = share * patches * size * (plan.dimensions + _DISTANCE)
    if not plan.candidates or plan.candidates >= size:
        return coarse + _FLOAT * plan.patches * size * dimension
    ranked = size * (plan.dimensions + _DISTANCE + _RANKED)
    return coarse + plan.patches * (ranked + _GATHERED * plan.candidates * dimension)
