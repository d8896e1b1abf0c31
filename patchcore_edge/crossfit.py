"""Out-of-sample scores of the training images themselves, for when no good images were held out.

Each fold's images are scored against a bank that was fitted on the other folds. The folds' banks see fewer images than
the final one, so their scores are if anything too high, and the threshold keeps its false-reject rate. Folds are drawn
at random: images that lie side by side are often of one kind, and a fold of a whole kind would raise the threshold
beyond what its defects reach. Series of pictures of one and the same part need a validation split instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchcore_edge_runtime.errors import DataError

from .models import PatchcoreModel
from .models.k_center_greedy import KCenterGreedy, Pool, pool_rows
from .outliers import patch_grid

__all__ = ["FOLDS", "cross_fitted_scores", "folds"]

FOLDS = 5


def folds(images: int, seed: int, count: int = FOLDS) -> list[NDArray[np.int64]]:
    """The images of each fold: together all of them, in sizes that differ by at most one.

    Raises:
        DataError: one image cannot be scored against others.
    """
    if images < 2:
        raise DataError("One image cannot be scored against others; give more good images.")
    shuffled = np.random.default_rng(seed).permutation(images)
    return np.array_split(shuffled, min(count, images))


class _Images:
    """The rows of some of a pool's images, as a pool; nothing is copied."""

    def __init__(self, pool: Pool, images: NDArray[np.int64], patches: int) -> None:
        self._pool = pool
        self._rows = (images[:, None] * patches + np.arange(patches)).ravel()
        self.shape = (len(self._rows), pool.shape[1])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Any) -> Tensor:
        return pool_rows(self._pool, self._rows[rows])


@torch.inference_mode()
def cross_fitted_scores(
    model: PatchcoreModel, pool: Pool, images: int, image_size: tuple[int, int], sampling_ratio: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Raw image scores and map maxima, each from a bank that has not seen the image.

    Args:
        model: fitted; its bank is put aside and comes back.
        pool: ``[images * P, D]`` features of the training images, image after image.
        images: how many.
        image_size: height and width of the model's input.
        sampling_ratio: share of the other folds' patches that each bank keeps.
        seed: of the coresets.

    Returns:
        ``[images]`` each.

    Raises:
        DataError: there are fewer than two images.
    """
    patches = len(pool) // images
    grid = patch_grid(model, image_size)
    scores, maxima = np.zeros(images, np.float32), np.zeros(images, np.float32)
    bank = model.memory_bank
    try:
        for fold in folds(images, seed):
            others = np.setdiff1d(np.arange(images), fold)
            sampler = KCenterGreedy(_Images(pool, others, patches), sampling_ratio, seed, device=bank.device)
            model.memory_bank = sampler.sample_coreset().to(bank.device)
            for image in fold:
                rows = pool_rows(pool, slice(image * patches, (image + 1) * patches)).to(bank.device)
                scores[image], maxima[image] = _score(model, rows, grid, image_size)
    finally:
        model.memory_bank = bank
    return scores, maxima


def _score(
    model: PatchcoreModel, rows: Tensor, grid: tuple[int, int], image_size: tuple[int, int]
) -> tuple[float, float]:
    distances, locations = model.nearest_neighbors(rows, 1)
    distances, locations = distances.reshape(1, -1), locations.reshape(1, -1)
    score = model.compute_anomaly_score(distances, locations, rows)
    anomaly_map = model.anomaly_map_generator(distances.reshape(1, 1, *grid), image_size)
    return float(score[0]), float(anomaly_map.max())
