"""Training images that look least like the others: what a person should look at before trusting a fit.

Greedy k-center picks the farthest patches first, so a bad image among the good ones gets into the bank early, and
what looks like it is then called good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchcore_edge_runtime.errors import ConfigError

from ..data.evenly_spaced import evenly_spaced
from ..models.k_center_greedy import products
from ..models.pool import Pool, pool_rows, shard_of

__all__ = ["SHOWN", "Outliers", "find_outliers"]

SHOWN = 12
"""The least usual images, whose patches are kept for a page."""

_PICKS = 1024
_OUTLYING = 3.5
"""Limit of the modified z-score (Iglewicz, Hoaglin 1993, "How to detect and handle outliers")."""


@dataclass(frozen=True)
class Outliers:
    """How unlike the others each training image is.

    Attributes:
        paths: the n images.
        distances: ``[n]`` float32: of an image's patches, the largest distance to the nearest of the earliest picks
            that come from other images.
        patches: ``[P]`` float32 of each of the least usual images by its place: that distance of each patch.
        usual: the median of such distances, in some of the images.
        grid: rows and columns of the P patches.
        z_scores: ``[n]`` float32: of the distances, from their median, in units of their spread.
        limit: distance above which an image stands out.
    """

    paths: tuple[Path, ...]
    distances: NDArray[np.float32]
    patches: dict[int, NDArray[np.float32]]
    usual: float
    grid: tuple[int, int]
    z_scores: NDArray[np.float32]
    limit: float

    @property
    def order(self) -> list[int]:
        """Images from the least to the most usual one."""
        return [int(i) for i in np.argsort(-self.distances, kind="stable")]

    @property
    def suspects(self) -> list[int]:
        """Those that stand out, the worst first."""
        return [i for i in self.order if self.z_scores[i] > _OUTLYING]

    def worst(self, wanted: Literal["keep", "drop"] | int) -> list[int]:
        """Which to leave out, the worst first: none, those that stand out, or so many of the least usual ones.

        Raises:
            ConfigError: fewer than two images would be left.
        """
        if wanted == "keep":
            return []
        chosen = self.suspects if wanted == "drop" else self.order[:wanted]
        if len(chosen) > len(self.paths) - 2:
            raise ConfigError(f"--outliers {wanted} leaves no two of {len(self.paths)} images; drop fewer.")
        return chosen


@torch.inference_mode()
def find_outliers(
    pool: Pool,
    picks: Sequence[int],
    paths: Sequence[Path],
    grid: tuple[int, int],
    units: NDArray[np.int64] | None = None,
    ignored: Tensor | None = None,
) -> Outliers:
    """Compare each image with the picks of the others.

    Args:
        pool: ``[n * P, D]`` features, image after image; each image's own before those of its copies where it has any.
        picks: rows of the coreset in the order they were picked; the first 1,024 are enough to tell what is far.
        paths: the n images.
        grid: rows and columns of an image's P patches.
        units: ``[n]`` what an image is not compared with: images of its own unit (part, batch); itself alone when None.
        ignored: ``[P]`` bool, patches that do not count; none when absent or empty.
    """
    patches, rows_each = grid[0] * grid[1], len(pool) // len(paths)
    own_unit = torch.arange(len(paths)) if units is None or len(np.unique(units)) < 2 else torch.from_numpy(units)
    chosen = list(picks[:_PICKS])
    owners = own_unit[torch.tensor(chosen) // rows_each]
    centers = pool_rows(pool, chosen)
    middle = centers.mean(0)
    centers = centers - middle
    weights, bias = -2 * centers, (centers * centers).sum(1)
    shard = shard_of(pool)
    held, start = (pool, 0) if shard is None else (shard.own, shard.start // rows_each)
    whole = (lambda tensor: tensor) if shard is None else shard.exchange.gather

    def of_patches(image: int) -> NDArray[np.float32]:
        first = (image - start) * rows_each
        rows = pool_rows(held, slice(first, first + patches)) - middle
        own = torch.where((owners == own_unit[image]).to(bias.device), torch.inf, bias)
        nearest = products(rows, weights, own).amin(1) + (rows * rows).sum(1)
        found = nearest.clamp_(min=0).sqrt_().cpu().numpy()
        if ignored is not None and len(ignored):
            found[ignored.cpu().numpy()] = 0
        # One image has no others: its distances are infinite.
        return np.asarray(np.where(np.isfinite(found), found, 0), np.float32)

    here = range(start, start + len(held) // rows_each)
    some, middles, largest = set(evenly_spaced(len(paths))), [], []
    for image in here:
        found = of_patches(image)
        largest.append(found.max())
        if image in some:
            middles.append(np.median(found))
    distances = whole(torch.tensor(np.array(largest, np.float32))).numpy()
    usual = float(np.median(whole(torch.tensor(np.array(middles, np.float32))).numpy()))
    shown = sorted(np.argsort(-distances, kind="stable")[:SHOWN].tolist())
    mine = [of_patches(image) for image in shown if image in here]
    rows = whole(torch.tensor(np.array(mine, np.float32).reshape(-1, patches))).numpy()
    median, unit = _usual(distances)
    z_scores = np.asarray((distances - median) / unit, np.float32)
    by_place = dict(zip(shown, rows, strict=True))
    return Outliers(tuple(paths), distances, by_place, usual, grid, z_scores, median + _OUTLYING * unit)


def _usual(values: NDArray[np.float32]) -> tuple[float, float]:
    """The median, and the spread in units of a normal distribution's standard deviation."""
    median = float(np.median(values))
    spread = float(np.median(np.abs(values - median))) / 0.6745
    # Where most are equal, anything else would be infinitely far; a thousandth of the value itself is no news.
    return median, max(spread, 1e-3 * median, 1e-12)
