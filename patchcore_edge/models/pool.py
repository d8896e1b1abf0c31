"""Pools of features: rows that are read a block at a time, of which several processes may each hold a stretch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Exchange", "Pool", "Shard", "ShardedPool", "held_on", "pool_rows", "shard_of"]

_SHARE_OF_FREE = 0.5
_BLOCK_ELEMENTS = 1 << 24


class Pool(Protocol):
    """Rows of features that are read a block at a time: a tensor, ``numpy.memmap``, or a feature store's file."""

    @property
    def shape(self) -> Any:
        """``(rows, dimensions)``."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> Any:
        """The rows of a slice or of an integer array, as a tensor or array of float16 or float32."""


class Exchange(Protocol):
    """What processes that share a pool tell each other; each method is called by all of them in the same order.

    Attributes:
        rank: number of this process.
    """

    rank: int

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of tensors of one shape."""

    def gather(self, tensor: Tensor) -> Tensor:
        """``[n, ...]``, each with an n of its own, behind one another in the processes' order."""

    def from_first(self, tensor: Tensor) -> Tensor:
        """The first process's ``[n]``."""


class Shard(NamedTuple):
    """This process's stretch of a pool.

    Attributes:
        own: its rows.
        start: place of the first of them in the whole pool.
        exchange: with the processes that hold the others.
    """

    own: Pool
    start: int
    exchange: Exchange

    def places(self, places: NDArray[np.int64]) -> slice:
        """Which of some rising places in the whole pool are in this stretch."""
        low, high = np.searchsorted(places, [self.start, self.start + len(self.own)])
        return slice(int(low), int(high))


class ShardedPool:
    """A pool of which each process holds a stretch, in their order.

    Reading from it is an exchange: all processes ask for the same rows, and each gets them.

    Args:
        own: this process's rows.
        counts: how many each process has.
        rank: of this process.
        exchange: with the others.
    """

    def __init__(self, own: Pool, counts: list[int], rank: int, exchange: Exchange) -> None:
        self.own, self.counts, self.rank, self._exchange = own, counts, rank, exchange
        self.shape = (sum(counts), own.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Tensor:
        places = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else rows
        own, start, exchange = self.shard()
        mine = np.flatnonzero((places >= start) & (places < start + len(own)))
        given = pool_rows(own, places[mine] - start)
        # Each row is one process's, and nothing is added to it.
        found = torch.zeros(len(places), self.shape[1], device=given.device)
        found[torch.from_numpy(mine).to(given.device)] = given
        return exchange.sum(found)

    def shard(self) -> Shard:
        """This process's part."""
        return Shard(self.own, sum(self.counts[: self.rank]), self._exchange)

    def with_own(self, own: Pool) -> ShardedPool:
        """Other features of the same rows."""
        return ShardedPool(own, self.counts, self.rank, self._exchange)


def shard_of(pool: Pool) -> Shard | None:
    """This process's part of a pool, or of some rows or columns of one; None where it holds all of it."""
    find = getattr(pool, "shard", None)
    found: Shard | None = None if find is None else find()
    return found


def pool_rows(pool: Pool, rows: slice | list[int] | NDArray[np.int64]) -> Tensor:
    """Some rows of a pool as float32 ``[r, d]``, in the order asked for, on the pool's device."""
    index: Any = rows if isinstance(rows, slice) else np.asarray(rows, np.int64)
    if isinstance(pool, Tensor):
        index = index if isinstance(index, slice) else torch.from_numpy(index).to(pool.device)
        return pool[index].float()
    block = pool[index]
    # torch's own cast from half precision uses the CPU's; it takes no read-only memory.
    return (block if isinstance(block, Tensor) else torch.from_numpy(np.require(block, requirements="W"))).float()


def held_on(device: torch.device, pool: Pool, free: Callable[[torch.device], int] | None = None) -> Pool:
    """The pool in a device's memory where half of what is free there holds it, else the pool itself.

    Not run on an accelerator: none was at hand.

    Args:
        device: that reads all of it again and again.
        pool: anywhere.
        free: gives the free bytes of a device; torch's word when None.
    """
    if isinstance(pool, Tensor) and pool.device.type == device.type:
        return pool
    free_of = free or (lambda one: int(getattr(torch, one.type).mem_get_info(one)[0]))
    count, dimensions = pool.shape
    if 4 * count * dimensions > _SHARE_OF_FREE * free_of(device):
        return pool
    rows = torch.empty(count, dimensions, device=device)
    step = max(1, _BLOCK_ELEMENTS // dimensions)
    for start in range(0, count, step):
        rows[start : start + step] = pool_rows(pool, slice(start, min(start + step, count)))
    return rows
