"""The space in which distances are taken: as the backbone gives it, or turned, cut and whitened by PCA.

Whitening by ``ev^(-a/2)`` makes directions in which good patches hardly vary count more: a = 0 is plain PCA, a = 1
gives all directions the same variance (Mahalanobis' distance where all are kept). The map is linear, in a graph one
product, and fewer dimensions make the search cheaper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from patchcore_edge_runtime.bundle.recipe import PcaOptions

from ..data.evenly_spaced import evenly_spaced
from .pool import Exchange, Pool, Shard, ShardedPool, pool_rows, shard_of

__all__ = ["FeatureSpace", "Moments", "pool_moments", "pool_origin", "projected"]

_BLOCK_ELEMENTS = 1 << 22
_ORIGIN_ROWS = 4096
_SMALLEST = 1e-6
"""Variances below this share of the largest are the rounding of features, and no directions to look in."""


@dataclass(frozen=True)
class FeatureSpace:
    """A linear map of features.

    Attributes:
        mean: ``[D]`` float32, taken off first.
        axes: ``[D, k]`` float32.
    """

    mean: Tensor
    axes: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """``[n, D]`` → ``[n, k]``."""
        return (rows - self.mean) @ self.axes

    def to(self, device: torch.device) -> FeatureSpace:
        """The same on a device."""
        return FeatureSpace(self.mean.to(device), self.axes.to(device))


@dataclass(frozen=True)
class Moments:
    """What a PCA needs of any number of rows; those of parts add up to those of the whole.

    Attributes:
        origin: ``[D]`` float32, near the rows' mean and the same in all parts: sums of what is far from it lose digits.
        count: of the rows.
        total: ``[D]`` float64 their sum, from the origin.
        products: ``[D, D]`` float64 the sum of their outer products, from the origin.
    """

    origin: Tensor
    count: int
    total: Tensor
    products: Tensor

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.origin, self.count + other.count, self.total + other.total, self.products + other.products)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.origin, self.count - other.count, self.total - other.total, self.products - other.products)

    def together(self, exchange: Exchange) -> Moments:
        """Of the rows of all processes, of which each has some."""
        count = int(exchange.sum(torch.tensor([self.count])))
        return Moments(self.origin, count, exchange.sum(self.total), exchange.sum(self.products))

    def space(self, options: PcaOptions) -> FeatureSpace:
        """The principal directions, the widest first; those without variance are left out."""
        mean = self.total / self.count
        covariance = self.products / self.count - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(covariance)
        values, vectors = values.flip(0), vectors.flip(1)
        usable = int((values > _SMALLEST * values[0].clamp_min(1e-30)).sum())
        kept = min(_kept(values, options.dimensions), max(usable, 1))
        scale = values[:kept].clamp_min(1e-30) ** (-options.whitening / 2)
        # The widest direction keeps its scale.
        axes = vectors[:, :kept] * (scale / scale[0])
        return FeatureSpace(self.origin + mean.float(), axes.float())


def _kept(values: Tensor, dimensions: float) -> int:
    if dimensions >= 1:
        return min(int(dimensions), len(values))
    shares = values.clamp_min(0).cumsum(0) / values.clamp_min(0).sum().clamp_min(1e-30)
    return min(int((shares < dimensions).sum()) + 1, len(values))


def pool_origin(pool: Pool) -> Tensor:
    """``[D]`` the mean of some rows of a pool, from first to last."""
    return pool_rows(pool, evenly_spaced(len(pool), _ORIGIN_ROWS)).mean(0)


def pool_moments(pool: Pool, origin: Tensor, rows: slice | None = None) -> Moments:
    """Of a pool, or of some of its rows, a block at a time.

    Args:
        pool: ``[n, D]``; of one that several processes hold each sums up its own rows, and all get the whole.
        origin: see ``Moments``; on the pool's device.
        rows: without a step; all when None.
    """
    shard = None if rows is not None else shard_of(pool)
    if shard is not None:
        return pool_moments(shard.own, origin).together(shard.exchange)
    dimensions = pool.shape[1]
    total, products = torch.zeros(dimensions, dtype=torch.float64), torch.zeros(dimensions, dimensions).double()
    start, stop, _ = (rows or slice(None)).indices(len(pool))
    step = max(1, _BLOCK_ELEMENTS // dimensions)
    for first in range(start, stop, step):
        block = pool_rows(pool, slice(first, min(first + step, stop))) - origin
        total += block.sum(0).double().cpu()
        products += (block.T @ block).double().cpu()
    return Moments(origin.cpu(), stop - start, total, products)


def projected(pool: Pool, space: FeatureSpace | None) -> Pool:
    """A pool seen in a feature space: at once where it is in memory, else as its rows are read."""
    if space is None:
        return pool
    if isinstance(pool, ShardedPool):
        return pool.with_own(projected(pool.own, space))
    return space.to(pool.device)(pool.float()) if isinstance(pool, Tensor) else _ProjectedPool(pool, space)


class _ProjectedPool:
    def __init__(self, pool: Pool, space: FeatureSpace) -> None:
        self._pool, self._space = pool, space
        self.shape = (len(pool), space.axes.shape[1])

    def __len__(self) -> int:
        return len(self._pool)

    def __getitem__(self, rows: Any) -> Tensor:
        return self._space(pool_rows(self._pool, rows))

    def shard(self) -> Shard | None:
        """See ``shard_of``."""
        found = shard_of(self._pool)
        return None if found is None else found._replace(own=projected(found.own, self._space))
