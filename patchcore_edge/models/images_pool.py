"""Some of the images of a pool. Its rows come image after image, each image's own before those of its copies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .k_center_greedy import Pool, pool_rows

__all__ = ["ImagesPool", "without_copies"]


class ImagesPool:
    """The rows of some of a pool's images, as a pool; nothing is copied.

    Args:
        pool: image after image.
        images: ``[m]`` places of those that are meant, rising.
        patches: rows of each image, its copies' included.
    """

    def __init__(self, pool: Pool, images: NDArray[np.int64], patches: int) -> None:
        self._pool = pool
        self._rows = (images[:, None] * patches + np.arange(patches)).ravel()
        self.shape = (len(self._rows), pool.shape[1])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Any) -> Tensor:
        return pool_rows(self._pool, self._rows[rows])


def without_copies(pool: Pool, images: int, patches: int) -> Pool:
    """The images' own rows, ``patches`` of each: the pool itself where there are no augmented copies."""
    pictures = len(pool) // max(images * patches, 1)
    return pool if pictures <= 1 else ImagesPool(pool, np.arange(images) * pictures, patches)
