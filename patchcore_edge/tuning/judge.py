"""What a layout's banks say of images that they have not seen, for every score rule and several sizes of the bank.

Greedy k-center picks in one order whatever the size, so the first half of a bank is the bank of half the size: one
coreset, and one pass over the images, judge them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchcore_edge_runtime.bundle.recipe import PcaOptions, ScoreRule

from ..models.anomaly_map import AnomalyMapGenerator
from ..models.centering import CenteredPool
from ..models.feature_space import FeatureSpace, pool_moments, pool_origin, projected
from ..models.images_pool import ImagesPool, counted_only
from ..models.k_center_greedy import KCenterGreedy, Pool, pool_rows, products
from ..models.neighbors import nearest
from ..models.score_rule import patches_counted
from ..models.upsampling import middles, upsampling
from .evidence import ROUNDING
from .recipe import RULES

__all__ = ["SHARES", "ColumnsPool", "Found", "Judge", "Seen"]

SHARES = (0.125, 0.25, 0.5, 1.0)
"""Sizes of the bank that are judged, as shares of the whole one."""
_FPR_LIMIT = 0.3
_AT_A_TIME = 16
_BLOCK_ELEMENTS = 1 << 20
_NEIGHBORS = 9


@dataclass(frozen=True)
class Seen:
    """What a view knows of its images.

    Attributes:
        good: ``[n * P, D]`` features of the good images.
        defects: ``[m * P, D]`` of the synthetic defects.
        sources: ``[m]`` the good image that each is on.
        coverage: ``[m, P]`` the share of each patch that its defect covers.
        real: ``[r * P, D]`` of labelled images that no bank is from; none when None.
        counted: ``[P]`` bool, the patches that count; all when None.
        grid: rows and columns of the P patches.
        image_size: height and width.
    """

    good: Pool
    defects: Pool
    sources: NDArray[np.int64]
    coverage: NDArray[np.float32]
    grid: tuple[int, int]
    image_size: tuple[int, int]
    real: Pool | None = None
    counted: NDArray[np.bool_] | None = None

    @property
    def patches(self) -> int:
        """Of an image."""
        return self.grid[0] * self.grid[1]

    @property
    def images(self) -> int:
        """Good ones."""
        return len(self.good) // self.patches


@dataclass(frozen=True)
class Found:
    """Raw scores by rule (in the order of ``RULES``) and share of the bank (in that of ``SHARES``).

    Attributes:
        good: ``[R, S, n]``.
        defects: ``[R, S, m]``.
        real: ``[R, S, r]``.
        located: ``[S, m]`` each defect's overlap, averaged over the rates of false pixels up to 0.3 (AUPRO's share).
        dimensions: of the feature space.
    """

    good: NDArray[np.float32]
    defects: NDArray[np.float32]
    real: NDArray[np.float32]
    located: NDArray[np.float32]
    dimensions: int


class ColumnsPool:
    """Some columns of a pool: the layers of a recipe among those of a view; nothing is copied before it is read."""

    def __init__(self, pool: Pool, columns: NDArray[np.int64]) -> None:
        self._pool, self._columns = pool, torch.from_numpy(columns)
        self.shape = (len(pool), len(columns))

    def __len__(self) -> int:
        return len(self._pool)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Tensor:
        return pool_rows(self._pool, rows)[:, self._columns]


class Judge:
    """Judges layouts of one view.

    Args:
        seen: the view's images.
        folds: the good images of each fold.
        bank_size: of the whole bank.
        seed: of the coresets.
        device: computes; the CPU when None.
    """

    def __init__(
        self,
        seen: Seen,
        folds: Sequence[NDArray[np.int64]],
        bank_size: int,
        seed: int,
        device: torch.device | None = None,
    ) -> None:
        self._seen, self._folds, self._size, self._seed = seen, folds, bank_size, seed
        self._device = torch.device("cpu") if device is None else device
        generator = AnomalyMapGenerator()
        height, width = (
            upsampling(generator, patches, pixels) for patches, pixels in zip(seen.grid, seen.image_size, strict=True)
        )
        self._rows, self._columns = height.to(self._device), width.T.contiguous().to(self._device)
        self._centers = [middles(p, s) for p, s in zip(seen.grid, seen.image_size, strict=True)]

    @torch.inference_mode()
    def __call__(self, columns: NDArray[np.int64], pca: PcaOptions | None, centering: float = 0.0) -> Found:
        """Judge some columns of the features in a feature space, less a share of their mean in each image."""
        seen, sizes = self._seen, (len(RULES), len(SHARES))
        reals = 0 if seen.real is None else len(seen.real) // seen.patches
        good, defects, real = (
            np.zeros((*sizes, count), np.float32) for count in (seen.images, len(seen.sources), reals)
        )
        located = np.zeros((len(SHARES), len(seen.sources)), np.float32)
        dimensions = 0
        own_pools = (self._pool(pool, columns, centering) for pool in (seen.good, seen.defects, seen.real))
        good_pool, defects_pool, real_pool = own_pools
        for number, fold in enumerate(self._folds):
            bank = self._bank(good_pool, fold, pca)
            dimensions, backgrounds = bank.dimensions, []
            for places, distances in bank.distances(good_pool, fold, seen.patches):
                scores, maps = self._scored(distances)
                good[:, :, places] = scores
                backgrounds.append(maps.flatten(2))
            background = (
                torch.cat(backgrounds, 1).flatten(1).sort(1).values
                if backgrounds
                else torch.zeros(len(SHARES), 1, device=self._device)
            )
            own = np.flatnonzero(np.isin(seen.sources, fold))
            for places, distances in bank.distances(defects_pool, own, seen.patches):
                scores, maps = self._scored(distances)
                defects[:, :, places] = scores
                coverage = torch.from_numpy(seen.coverage[places]).to(self._device)
                located[:, places] = _located(maps.flatten(2), background, coverage)
            if number == 0:
                for places, distances in bank.distances(real_pool, np.arange(reals), seen.patches):
                    real[:, :, places] = self._scored(distances)[0]
        return Found(good, defects, real, located, dimensions)

    @torch.inference_mode()
    def whole(self, columns: NDArray[np.int64], pca: PcaOptions | None, centering: float = 0.0) -> NDArray[np.float32]:
        """``[R, S, r]`` scores of the labelled images by a bank of all good ones."""
        assert self._seen.real is not None
        bank = self._bank(self._pool(self._seen.good, columns, centering), np.zeros(0, np.int64), pca)
        labelled = self._pool(self._seen.real, columns, centering)
        count = len(labelled) // self._seen.patches
        scores = np.zeros((len(RULES), len(SHARES), count), np.float32)
        for places, distances in bank.distances(labelled, np.arange(count), self._seen.patches):
            scores[:, :, places] = self._scored(distances)[0]
        return scores

    def _pool(self, pool: Pool | None, columns: NDArray[np.int64], centering: float) -> Pool:
        some = ColumnsPool(self._seen.good[:0] if pool is None else pool, columns)
        return CenteredPool(some, self._seen.patches, centering, self._seen.counted) if centering else some

    def _bank(self, pool: Pool, fold: NDArray[np.int64], pca: PcaOptions | None) -> _Bank:
        others: Pool = ImagesPool(pool, np.setdiff1d(np.arange(self._seen.images), fold), self._seen.patches)
        others = counted_only(others, self._seen.counted)
        rows = pool_rows(others, slice(0, len(others))).to(self._device)
        space = None if pca is None else pool_moments(rows, pool_origin(rows)).space(pca)
        seen = projected(rows, space)
        picks = KCenterGreedy(seen, 1.0, self._seed, size=self._size).select_coreset_idxs()
        return _Bank(pool_rows(seen, picks), space, self._seen.counted)

    def _scored(self, found: tuple[Tensor, Tensor]) -> tuple[NDArray[np.float32], Tensor]:
        """``[R, S, b]`` scores and ``[S, b, h, w]`` maps at the patches' middles, of distances ``[S, b, P]``."""
        distances, worst = found
        shares, batch, patches = distances.shape
        grid = distances.reshape(shares, batch, *self._seen.grid)
        rows, columns = self._rows @ grid, self._columns
        maps = rows[:, :, self._centers[0]] @ columns[:, self._centers[1]]
        count = patches_counted(ScoreRule.TOP_K, patches)
        by_rule = {
            ScoreRule.MAP_MAX: torch.stack([(one @ columns).amax((1, 2)) for one in rows]),
            ScoreRule.TOP_K: distances.topk(count, dim=2).values.mean(2),
            ScoreRule.PATCH_MAX: distances.amax(2),
            ScoreRule.REFERENCE: worst,
        }
        return torch.stack([by_rule[rule] for rule in RULES]).cpu().numpy(), maps


class _Bank:
    """A whole bank whose beginnings are smaller ones."""

    def __init__(self, vectors: Tensor, space: FeatureSpace | None, counted: NDArray[np.bool_] | None) -> None:
        self._space = space
        self._ignored = None if counted is None else torch.from_numpy(~counted)
        self._center = vectors.mean(0)
        centred = vectors - self._center
        ends = [max(1, round(len(vectors) * share)) for share in SHARES]
        self._parts = [
            (-2 * part, (part * part).sum(1))
            for part in (centred[start:end] for start, end in zip([0, *ends], ends, strict=False))
        ]
        self._ends, self._vectors = ends, centred
        # What is compared at a time stays in the cache until its minimum is taken.
        self._step = max(1, _BLOCK_ELEMENTS // max(len(part) for part, _ in self._parts))

    @property
    def dimensions(self) -> int:
        """Of its vectors."""
        return int(self._vectors.shape[1])

    def distances(
        self, pool: Pool, images: NDArray[np.int64], patches: int
    ) -> Iterator[tuple[NDArray[np.int64], tuple[Tensor, Tensor]]]:
        """Places of some images at a time, with ``[S, b, P]`` distances and ``[S, b]`` scores by eq. 7."""
        for start in range(0, len(images), _AT_A_TIME):
            places = images[start : start + _AT_A_TIME]
            rows = pool_rows(ImagesPool(pool, places, patches), slice(None)).to(self._center.device)
            centred = (rows if self._space is None else self._space(rows)) - self._center
            distances = torch.cat([self._nearest(block) for block in torch.split(centred, self._step)], 1)
            distances = distances.reshape(len(SHARES), len(places), patches)
            if self._ignored is not None:
                distances = distances.masked_fill(self._ignored, 0)
            yield places, (distances, self._reweighted(distances, centred.reshape(len(places), patches, -1)))

    def _nearest(self, rows: Tensor) -> Tensor:
        """``[S, r]`` distances of ``[r, k]`` rows."""
        norms = (rows * rows).sum(1)
        nearest = torch.full_like(norms, torch.inf)
        by_share = []
        for weights, bias in self._parts:
            if len(weights):
                nearest = torch.minimum(nearest, products(rows, weights, bias).amin(1))
            by_share.append((nearest + norms).clamp_min(0).sqrt())
        return torch.stack(by_share)

    def _reweighted(self, distances: Tensor, patches: Tensor) -> Tensor:
        """Eq. 7 for the worst patch of each image (Roth et al. 2022)."""
        worst, places = distances.max(2)
        scores = torch.empty_like(worst)
        images = torch.arange(patches.shape[0], device=patches.device)
        for share, end in enumerate(self._ends):
            bank = self._vectors[:end]
            patch = patches[images, places[share]]
            neighbor = bank[nearest(bank, patch, 1)[1][:, 0]]
            support = nearest(bank, neighbor, _NEIGHBORS)[1]
            weights = torch.linalg.vector_norm(patch.unsqueeze(1) - bank[support], dim=2).softmax(1)[:, 0]
            scores[share] = worst[share] * (1 - weights) if end > 1 else worst[share]
        return scores


def _located(maps: Tensor, background: Tensor, coverage: Tensor) -> NDArray[np.float32]:
    """``[S, b]``: the mean over a defect's patches of how far they are above the background, up to the limit."""
    # Where the defect does not reach, its picture's map is the good one's, which is not above itself.
    beaten = (maps * (1 - ROUNDING)).reshape(len(maps), -1).contiguous()
    above = torch.searchsorted(background, beaten).reshape(maps.shape)
    rate = 1 - above / background.shape[1]
    worth = (1 - rate / _FPR_LIMIT).clamp_min(0)
    # A defect smaller than a patch still has the patch that holds most of it.
    weights = torch.where(coverage >= 0.5 * coverage.amax(1, keepdim=True), coverage, 0.0)
    return ((worth * weights).sum(2) / weights.sum(1).clamp_min(1e-9)).cpu().numpy()
