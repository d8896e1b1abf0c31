"""Patch features less what all patches of a picture have in common.

Good parts of another lot, lamp or camera often differ as a whole: every patch's features are shifted alike, and each
patch is as far from the bank as a small defect is. A share of the picture's own mean is taken off all of its patches,
of those in the bank as of those that are judged: what differs from place to place stays. A defect that covers the whole
picture loses by it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .pool import Pool, pool_rows

__all__ = ["CenteredPool", "centered"]


def centered(features: Tensor, share: float, ignored: Tensor) -> Tensor:
    """``[N,D,h,w]`` features less a share of their mean over the patches that count.

    Args:
        share: in [0, 1]; nothing is done for 0.
        ignored: ``[h*w]`` bool, the patches that do not count; empty where all do.
    """
    if not share:
        return features
    flat = features.flatten(2)
    if len(ignored):
        weights = (~ignored).to(features.dtype)
        mean = (flat * (weights / weights.sum())).sum(2, keepdim=True)
    else:
        mean = flat.mean(2, keepdim=True)
    return features - share * mean.unsqueeze(3)


class CenteredPool:
    """A pool of whole images whose rows are centred as they are read.

    Args:
        pool: image after image.
        patches: rows of each.
        share: in (0, 1].
        counted: ``[patches]`` which rows of an image the mean is of; all when None.
    """

    def __init__(self, pool: Pool, patches: int, share: float, counted: NDArray[np.bool_] | None = None) -> None:
        self._pool, self._patches = pool, patches
        self.shape = pool.shape
        kept = slice(None) if counted is None else torch.from_numpy(counted)
        images = (pool_rows(pool, slice(start, start + patches)) for start in range(0, len(pool), patches))
        means = [share * rows[kept].mean(0) for rows in images]
        self._means = torch.stack(means) if means else torch.zeros(0, int(pool.shape[1]))

    def __len__(self) -> int:
        return len(self._pool)

    def __getitem__(self, rows: Any) -> Tensor:
        images = torch.from_numpy(np.arange(len(self))[rows] // self._patches)
        return pool_rows(self._pool, rows) - self._means[images.to(self._means.device)]
