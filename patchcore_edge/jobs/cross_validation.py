"""Out-of-sample scores of the training images themselves, for when no good images were held out.

Each fold's images are scored against a bank that was fitted on the other folds. The folds' banks see fewer images than
the final one, so their scores are if anything too high, and the threshold keeps its false-reject rate. What belongs
together stays in one fold: pictures of one part, and batches where they are known. Folds are drawn at random, unless
the scores in file order show that neighbouring files are alike: then whole stretches of files are held out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchcore_edge_runtime.bundle.recipe import PcaOptions
from patchcore_edge_runtime.errors import DataError

from ..fit.distributed.ranks import ranks
from ..models import PatchcoreModel
from ..models.feature_space import FeatureSpace, Moments, pool_moments, pool_origin, projected
from ..models.images_pool import ImagesPool, counted_only
from ..models.k_center_greedy import KCenterGreedy
from ..models.pool import Pool, pool_rows, shard_of

__all__ = [
    "FOLDS",
    "OutOfFold",
    "Scorer",
    "folds",
    "image_scores",
    "out_of_fold_scores",
    "scores_of_all",
    "stretches_of",
    "units_of",
    "unseen_bank",
]

FOLDS = {100: 20, 1000: 10}
"""Up to so many images → folds, else 5. The fewer images there are, the more each is missed by a bank without it: with
60 of them 5 folds give scores that are 5 % higher than 20 do. The more there are, the longer a bank takes."""
_FEWEST_FOLDS = 5
_STRETCHES = 10


@dataclass(frozen=True)
class OutOfFold:
    """What banks that have not seen an image say of it.

    Attributes:
        scores, maxima: ``[n]`` raw image scores and largest values of the maps.
        defects: ``[m]`` raw image scores of the synthetic defects.
    """

    scores: NDArray[np.float32]
    maxima: NDArray[np.float32]
    defects: NDArray[np.float32]


class Scorer:
    """Scores patch features with any bank.

    Args:
        model: fitted.
        grid: rows and columns of an image's patches.
        image_size: height and width of the model's input.
    """

    def __init__(self, model: PatchcoreModel, grid: tuple[int, int], image_size: tuple[int, int]) -> None:
        self._model, self.grid, self._size = model, grid, image_size

    @property
    def patches(self) -> int:
        """Per image."""
        return self.grid[0] * self.grid[1]

    def image(self, pool: Pool, index: int, rows_each: int | None = None) -> Tensor:
        """``[P, D]`` an image's own rows of a pool, on the model's device.

        Args:
            pool: image after image.
            index: of the image.
            rows_each: of an image in the pool, those of its copies included; its own alone when None.
        """
        first = index * (rows_each or self.patches)
        return pool_rows(pool, slice(first, first + self.patches)).to(self._model.memory_bank.device)

    def __call__(self, rows: Tensor, bank: Tensor, space: FeatureSpace | None = None) -> tuple[float, float]:
        """Raw image score and map's maximum of ``[P, D]`` patches by a bank ``[M, k]``, in the bank's own space."""
        own, own_space = self._model.memory_bank, self._model.feature_space
        self._model.memory_bank, self._model.feature_space = bank, space
        try:
            scored = self._model.score_patches(rows[None], self.grid, self._size)
            return float(scored.pred_score[0]), float(scored.anomaly_map.max())
        finally:
            self._model.memory_bank, self._model.feature_space = own, own_space


def image_scores(
    scorer: Scorer,
    pool: Pool,
    images: Sequence[int] | NDArray[np.int64],
    rows_each: int,
    bank: Tensor,
    space: FeatureSpace | None,
) -> NDArray[np.float32]:
    """``[m, 2]`` raw scores and map maxima of some images of a pool; each process scores those that it holds.

    Args:
        scorer: of the fitted model.
        pool: image after image, ``rows_each`` of each.
        images: their places.
        rows_each: of an image in the pool, those of its copies included.
        bank: ``[M, k]``.
        space: the bank's.
    """
    shard = shard_of(pool)
    own, first = (pool, 0) if shard is None else (shard.own, shard.start // rows_each)
    here = range(first, first + len(own) // rows_each)
    found = np.zeros((len(images), 2), np.float32)
    for row, image in enumerate(images):
        if int(image) in here:
            found[row] = scorer(scorer.image(own, int(image) - first, rows_each), bank, space)
    return found if shard is None else shard.exchange.sum(torch.from_numpy(found)).numpy()


def scores_of_all(
    scorer: Scorer, made: Iterable[Tensor | None], bank: Tensor, space: FeatureSpace | None
) -> list[float]:
    """Raw image scores of pictures, ``[P, D]`` features each, or None where another process has them."""
    own = [0.0 if rows is None else scorer(rows, bank, space)[0] for rows in made]
    found: list[float] = ranks().sum(torch.tensor(own, dtype=torch.float64)).tolist()
    return found


def units_of(part: NDArray[np.int64], batches: Sequence[str] = ()) -> NDArray[np.int64]:
    """What stays together in folds: ``[n]`` numbers, one for images that parts or batches link.

    Args:
        part: ``[n]`` which part each image shows.
        batches: of each image; none are known when empty.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(part)
    _, which = np.unique(np.asarray(batches or part), return_inverse=True)
    links = np.r_[np.arange(n), np.arange(n)], np.r_[part, part.max() + 1 + which]
    size = int(part.max() + which.max()) + 2
    # Images on one side, parts and batches on the other.
    graph = coo_array((np.ones(2 * n), (links[0], n + links[1])), shape=(n + size, n + size))
    return np.asarray(connected_components(graph, directed=False)[1][:n], np.int64)


def folds(units: NDArray[np.int64], seed: int, count: int | None = None) -> list[NDArray[np.int64]]:
    """The images of each fold: together all of them, whole units only, in sizes as equal as the units allow.

    Args:
        units: ``[n]`` number of the unit that each image belongs to.
        seed: decides which unit goes where.
        count: of folds; see ``FOLDS``. As many as there are units at most.

    Raises:
        DataError: one unit cannot be scored against others.
    """
    numbers, sizes = np.unique(units, return_counts=True)
    if len(numbers) < 2:
        raise DataError(
            "One image cannot be scored against others; give more good images."
            if len(units) == 1
            else f"All {len(units)} images show one part or one batch; give good images of others."
        )
    wanted = count or next((some for most, some in FOLDS.items() if len(units) <= most), _FEWEST_FOLDS)
    order = np.random.default_rng(seed).permutation(len(numbers))
    order = order[np.argsort(-sizes[order], kind="stable")]
    members: list[list[int]] = [[] for _ in range(min(wanted, len(numbers)))]
    filled = np.zeros(len(members), np.int64)
    for place in order:
        fold = int(filled.argmin())
        members[fold].append(int(numbers[place]))
        filled[fold] += sizes[place]
    return [np.flatnonzero(np.isin(units, fold)) for fold in members]


def stretches_of(count: int) -> tuple[str, ...]:
    """Names of ten stretches of so many files in order, fewer of few files: as if each were a batch."""
    stretches = min(_STRETCHES, max(2, count // 3))
    return tuple(f"stretch {place}" for place in np.arange(count) * stretches // count)


@torch.inference_mode()
def out_of_fold_scores(
    scorer: Scorer,
    pool: Pool,
    parted: Sequence[NDArray[np.int64]],
    sampling_ratio: float,
    seed: int,
    defects: Callable[[NDArray[np.int64]], Iterable[Tensor | None]] = lambda fold: (),
    device: torch.device | None = None,
    pca: PcaOptions | None = None,
    counted: NDArray[np.bool_] | None = None,
) -> OutOfFold:
    """Raw image scores and map maxima, each from a bank that has not seen the image, nor a copy of it.

    Each bank is made as the run's own is: where the fit augments, from the other images and their copies. What is
    scored are the images as they are.

    Args:
        scorer: of the fitted model.
        pool: ``[n * r, D]`` features of the training images, image after image, each image's P own rows before those
            of its augmented copies.
        parted: the images of each fold; together all n.
        sampling_ratio: share of the other folds' patches that each bank keeps.
        seed: of the coresets.
        defects: gives ``[P, D]`` features of synthetic defects on a fold's images, None for those of other processes.
        device: where the coresets are chosen; the pool's when None.
        pca: the feature space of each fold's bank; the features as they are when None.
        counted: which of an image's r rows may be in a bank; see ``counted_only``.
    """
    n = sum(map(len, parted))
    rows_each = len(pool) // n
    scores, maxima = np.zeros(n, np.float32), np.zeros(n, np.float32)
    made: list[float] = []
    for fold, space in zip(parted, _spaces(pool, rows_each, parted, pca, counted), strict=True):
        others = np.setdiff1d(np.arange(n), fold)
        rest = projected(counted_only(ImagesPool(pool, others, rows_each), counted), space)
        bank = KCenterGreedy(rest, sampling_ratio, seed, device=device).sample_coreset()
        found = image_scores(scorer, pool, fold, rows_each, bank, space)
        scores[fold], maxima[fold] = found[:, 0], found[:, 1]
        made += scores_of_all(scorer, defects(fold), bank, space)
    return OutOfFold(scores, maxima, np.array(made, np.float32))


def _spaces(
    pool: Pool,
    rows_each: int,
    parted: Sequence[NDArray[np.int64]],
    pca: PcaOptions | None,
    counted: NDArray[np.bool_] | None,
) -> list[FeatureSpace | None]:
    """The feature space that each fold's other images give: sums of all images less those of the fold."""
    if pca is None:
        return [None for _ in parted]
    pool, rows_each = counted_only(pool, counted), rows_each if counted is None else int(counted.sum())
    origin, shard = pool_origin(pool), shard_of(pool)
    own, first = (pool, 0) if shard is None else (shard.own, shard.start // rows_each)
    here = range(first, first + len(own) // rows_each)

    def moments(fold: NDArray[np.int64]) -> Moments:
        places = [int(image) - first for image in fold if int(image) in here]
        rows = (slice(place * rows_each, (place + 1) * rows_each) for place in places)
        found = reduce(add, (pool_moments(own, origin, some) for some in rows), pool_moments(own, origin, slice(0)))
        return found if shard is None else found.together(shard.exchange)

    of_folds = [moments(fold) for fold in parted]
    whole = reduce(add, of_folds)
    return [(whole - fold).space(pca) for fold in of_folds]


@torch.inference_mode()
def unseen_bank(
    pool: Pool,
    units: NDArray[np.int64],
    size: int,
    seed: int,
    share: float = 1 / 3,
    device: torch.device | None = None,
    space: FeatureSpace | None = None,
    counted: NDArray[np.bool_] | None = None,
) -> tuple[Tensor, NDArray[np.int64]]:
    """A bank of a given size that has not seen some of the images, and those: what a graph is judged on.

    Args:
        pool: ``[n * r, D]`` features of the training images, those of an image's copies after its own.
        units: ``[n]`` what stays together; at least two different ones.
        size: of the bank; as many patches as there are where they are fewer.
        seed: decides which images, and of the coreset.
        share: of the images, roughly; at least one unit, and never all.
        device: where the coreset is chosen; the pool's when None.
        space: the bank's; the features as they are when None.
        counted: which of an image's rows may be in the bank; see ``counted_only``.
    """
    numbers = np.random.default_rng(seed).permutation(np.unique(units))
    held: list[int] = []
    for number in numbers[:-1]:
        if held and np.isin(units, [*held, number]).mean() > share + 1e-9:
            continue
        held.append(int(number))
    unseen = np.flatnonzero(np.isin(units, held))
    others = ImagesPool(pool, np.flatnonzero(~np.isin(units, held)), len(pool) // len(units))
    rest = projected(counted_only(others, counted), space)
    sampler = KCenterGreedy(rest, 1.0, seed, size=min(size, len(rest)), device=device)
    return sampler.sample_coreset(), unseen
