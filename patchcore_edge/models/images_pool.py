"""Some of the rows of a pool, which come image after image, each image's own before those of its copies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from patchcore_edge_runtime.errors import ConfigError

from .pool import Pool, Shard, pool_rows, shard_of

__all__ = ["ImagesPool", "RowsPool", "counted_only", "without_copies"]


class RowsPool:
    """Some rows of a pool, as a pool; nothing is copied.

    Args:
        pool: of all rows.
        places: ``[m]`` of those that are meant, rising.

    Attributes:
        places: the same.
    """

    def __init__(self, pool: Pool, places: NDArray[np.int64]) -> None:
        self._pool, self.places = pool, places
        self.shape = (len(places), pool.shape[1])

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: Any) -> Tensor:
        return pool_rows(self._pool, self.places[rows])

    def shard(self) -> Shard | None:
        """See ``shard_of``."""
        found = shard_of(self._pool)
        if found is None:
            return None
        mine = found.places(self.places)
        return Shard(RowsPool(found.own, self.places[mine] - found.start), mine.start, found.exchange)


class ImagesPool(RowsPool):
    """The rows of some of a pool's images.

    Args:
        pool: image after image.
        images: ``[m]`` places of those that are meant, rising.
        patches: rows of each image, its copies' included.
    """

    def __init__(self, pool: Pool, images: NDArray[np.int64], patches: int) -> None:
        super().__init__(pool, (images[:, None] * patches + np.arange(patches)).ravel())


def counted_only(pool: Pool, counted: NDArray[np.bool_] | None) -> Pool:
    """What of a pool may become part of a bank: all of it, or of each image the rows that count.

    Args:
        pool: image after image.
        counted: ``[r]`` of the rows of one image, its copies' included; all when None.

    Raises:
        ConfigError: the pool is not of whole images.
    """
    if counted is None:
        return pool
    if len(pool) % len(counted):
        raise ConfigError(f"A pool of {len(pool)} patches is not of whole images of {len(counted)}; give all of each.")
    first = np.arange(0, len(pool), len(counted))
    return RowsPool(pool, (first[:, None] + np.flatnonzero(counted)).ravel())


def without_copies(pool: Pool, images: int, patches: int) -> Pool:
    """The images' own rows, ``patches`` of each: the pool itself where there are no augmented copies."""
    pictures = len(pool) // max(images * patches, 1)
    return pool if pictures <= 1 else ImagesPool(pool, np.arange(images) * pictures, patches)
