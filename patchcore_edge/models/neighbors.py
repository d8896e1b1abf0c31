"""The nearest vectors of a memory bank."""

from __future__ import annotations

import torch
from torch import Tensor

from .k_center_greedy import products

__all__ = ["nearest"]

_BLOCK_ELEMENTS = 1 << 22


def nearest(bank: Tensor, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Distances and indices of each row's nearest bank vectors, nearest first.

    Args:
        bank: ``[M, D]``.
        rows: ``[n, D]``.
        count: at most M are returned.

    Returns:
        ``[n, k]`` each, k the smaller of ``count`` and M.
    """
    count = min(count, len(bank))
    step = max(1, _BLOCK_ELEMENTS // len(bank))
    center = bank.mean(0)
    centred = bank - center
    # −2xy + ‖y‖² finds the nearest as well as ‖x − y‖ does; distances are then taken to those only.
    weights, bias = -2 * centred, (centred * centred).sum(1)
    found = []
    # In blocks: the whole [n, M] matrix of a large batch and bank would not fit.
    for some in torch.split(rows - center, step):
        indices = _smallest(products(some, weights, bias), count)
        distances, order = (some.unsqueeze(1) - centred[indices]).square().sum(2).sqrt().sort(1)
        found.append((distances, indices.gather(1, order)))
    values, places = (torch.cat(parts) for parts in zip(*found, strict=True))
    return values, places


def _smallest(rows: Tensor, count: int) -> Tensor:
    """``[n, count]`` places of the smallest of each row of ``[n, M]``."""
    # A minimum is many times as fast as a sort of one.
    return rows.min(1, keepdim=True).indices if count == 1 else rows.topk(count, largest=False).indices
