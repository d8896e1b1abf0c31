"""How surely two pictures show one part, by what their patches look like; ``hash_likeness`` looks at their hashes.

One picture *explains* the other: the mean distance of some of one's patches to their nearest patches anywhere in the
other, so that a part may have moved a little; in a space of few dimensions in which all vary alike, so that what all
parts have in common does not decide. The measure is each data set's own: how well the best of some pictures explains it
that are similar but not the most similar, which are of its kind and of other parts. What was measured:
docs/thresholds.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.evenly_spaced import evenly_spaced
from ..models.k_center_greedy import products
from ..models.pool import Pool, pool_rows, shard_of

__all__ = ["CANDIDATES", "FEWEST", "NEAR", "SURE", "Asked", "Pictures", "image_rows"]

FEWEST = 8
"""Images; with fewer there are none left to measure by."""
SURE = 0.75
"""Two pictures are of one part when each explains the other by a quarter better than any picture of another part."""
_LIKELY = 0.9
"""Or by a tenth, where the hash says so too."""
CANDIDATES = 3
_NEXT = 21
"""Candidates are measured by the next similar images: of these too the best is the nearer the more images there are."""
_FAR_FACTOR = 1.5
"""Where even the next ones may show the part, as frames of a video do: twice as well as those of ranks farther away."""
NEAR, _FAR = 0.1, 0.5
"""Those ranks among all images by similarity, as shares: a tenth may be of the same part."""
_REFERENCES = 24
_HELD = 128
"""Images that references are taken from."""
_KEPT = 512
"""Images whose patches stay in memory in that space, a quarter of a megabyte each."""
_QUERIES = 64
_NEAREST = 64
_MATRIX = 1 << 26
"""Distances of summaries that are held at a time."""
_AT_A_TIME = 64
"""Pictures that are explained between two exchanges: a megabyte of queries."""
_CELLS = 4
_DIMENSIONS = 64
_SAMPLED_IMAGES = 256


@dataclass(frozen=True)
class Asked:
    """A picture that is to be explained.

    Attributes:
        queries: ``[q, d]`` some of its patches, in the space.
        summary: ``[s]``.
        own: its place, if it is one of the images.
    """

    queries: Tensor
    summary: Tensor
    own: int | None = None


class Pictures:
    """Images by how well they explain others.

    Where several processes hold the pool, each explains pictures of its own, in step with the others: what is asked
    goes to the processes that hold the images, and distances come back.

    Args:
        pool: features, image after image.
        grid: rows and columns of an image's P patches.
        images: ``[m]`` those of the pool that are meant, at least ``FEWEST``; places are places among them.
    """

    def __init__(self, pool: Pool, grid: tuple[int, int], images: NDArray[np.int64]) -> None:
        self._pool, self._grid, self._images = pool, grid, images
        self._shard = shard_of(pool)
        own, first = (pool, 0) if self._shard is None else (self._shard.own, self._shard.start)
        patches = grid[0] * grid[1]
        self._own, self._first = own, first // patches
        low, high = np.searchsorted(images, [self._first, self._first + len(own) // patches])
        self.places = range(int(low), int(high))
        self._queries = _places(grid)
        self._mean, self._axes = self._whitening()
        self._held = evenly_spaced(len(images), _HELD)
        # Filled in place, as the summaries: small results that outlive their images would keep the allocator from
        # giving those back, gigabytes of ten thousand.
        self._kept: dict[int, Tensor] = {}
        self._room = torch.empty(min(_KEPT, len(self.places)), patches, self._axes.shape[1])
        for place in self._held:
            if place in self.places:
                self._patches(place)
        cells = min(_CELLS, grid[0]) * min(_CELLS, grid[1])
        mine = torch.empty(len(self.places), cells * self._axes.shape[1])
        for row, place in zip(mine, self.places, strict=True):
            row.copy_(self._summary(self._patches(place)))
        self._summaries = mine if self._shard is None else self._shard.exchange.gather(mine)
        self._norms = self._summaries.square().sum(1)

    @property
    def count(self) -> int:
        """How many images there are."""
        return len(self._images)

    def together(self, tensor: Tensor) -> Tensor:
        """What all processes found about their own pictures, ``[n, ...]`` each, in the order of the pictures."""
        return tensor if self._shard is None else self._shard.exchange.gather(tensor)

    def ask(self, place: int) -> Asked:
        """About one of this process's images."""
        return Asked(self._patches(place)[self._queries], self._summaries[place], place)

    def ask_of(self, rows: Tensor) -> Asked:
        """About another picture, with ``[P, D]`` features."""
        patches = (rows - self._mean) @ self._axes
        return Asked(patches[self._queries], self._summary(patches))

    def explaining(self, asked: Iterable[Asked]) -> Iterator[dict[int, float]]:
        """For each picture the places of the images that explain it better than those of other parts do.

        With the share that their distance is of the best other part's; under ``SURE`` it tells by itself.
        """
        coming = iter(asked)
        while True:
            some = list(islice(coming, max(1, min(_AT_A_TIME, _MATRIX // self.count))))
            if not self._any(bool(some)):
                return
            wanted = self._wanted(some)
            pairs = [(number, place) for number, one in enumerate(wanted) for place in sorted(one.places)]
            distances = self._distances(some, np.array(pairs, np.int64).reshape(-1, 2))
            found: list[dict[int, float]] = [{} for _ in some]
            for (number, place), distance in zip(pairs, distances, strict=True):
                found[number][place] = distance
            yield from (one.explained(by) for one, by in zip(wanted, found, strict=True))

    def _wanted(self, asked: Sequence[Asked]) -> list[_Wanted]:
        """With what each picture is compared, by the distances of the summaries, all in one product."""
        if not asked:
            return []
        summaries = torch.stack([one.summary for one in asked])
        apart = products(summaries, -2 * self._summaries, self._norms).numpy()
        return [self._compared(one, row) for one, row in zip(asked, apart, strict=True)]

    def _compared(self, asked: Asked, apart: NDArray[np.float32]) -> _Wanted:
        if asked.own is not None:
            apart[asked.own] = np.inf
        count = len(apart) - (asked.own is not None)
        # What is near by the product, in the order of the differences, which lose no digits.
        nearest = np.argpartition(apart, min(_NEAREST, count) - 1)[: min(_NEAREST, count)]
        exact = (self._summaries[nearest] - asked.summary).square().sum(1).numpy()
        order = nearest[np.lexsort((nearest, exact))].tolist()
        near, far = max(CANDIDATES, int(NEAR * count)), max(FEWEST - 2, int(_FAR * count))
        held = np.array([place for place in self._held if place != asked.own])
        ranks = np.searchsorted(np.sort(apart), apart[held])
        within = (ranks >= near) & (ranks <= far)
        references = held[within][np.argsort(ranks[within], kind="stable")][:_REFERENCES].tolist()
        return _Wanted(order[:CANDIDATES], order[CANDIDATES : CANDIDATES + _NEXT], references)

    def _any(self, here: bool) -> bool:
        """Whether some process has pictures left."""
        return here if self._shard is None else bool(self._shard.exchange.sum(torch.tensor([int(here)])) > 0)

    def _distances(self, asked: Sequence[Asked], pairs: NDArray[np.int64]) -> list[float]:
        """Of ``[p, 2]`` numbers of a picture and places of an image, how far the picture is from being explained."""
        if self._shard is None:
            return [_explained(asked[number].queries, self._patches(place)) for number, place in pairs.tolist()]
        exchange, width = self._shard.exchange, self._axes.shape[1]
        # Behind one another: the pictures of all processes, and what is asked of them.
        mine = torch.stack([one.queries for one in asked]) if asked else torch.zeros(0, len(self._queries), width)
        before = int(exchange.gather(torch.tensor([len(mine)]))[: exchange.rank].sum())
        queries = exchange.gather(mine)
        counts = exchange.gather(torch.tensor([len(pairs)]))
        everybody = exchange.gather(torch.from_numpy(pairs + np.array([before, 0])))
        found = torch.zeros(len(everybody), dtype=torch.float64)
        for row, (number, place) in enumerate(everybody.tolist()):
            if place in self.places:
                found[row] = _explained(queries[number], self._patches(place))
        start = int(counts[: exchange.rank].sum())
        answers: list[float] = exchange.sum(found)[start : start + len(pairs)].tolist()
        return answers

    def _patches(self, place: int) -> Tensor:
        """``[P, d]`` of one of this process's images, in the space."""
        if place in self._kept:
            return self._kept[place]
        found = self._whitened(place)
        if len(self._kept) < len(self._room):
            self._kept[place] = self._room[len(self._kept)].copy_(found)
        return found

    def _whitened(self, place: int) -> Tensor:
        rows = image_rows(self._own, self._grid, int(self._images[place]) - self._first)
        return (rows - self._mean) @ self._axes

    def _summary(self, patches: Tensor) -> Tensor:
        """Means over a coarse grid, to find what is worth a closer look."""
        features = patches.T.reshape(1, -1, *self._grid)
        cells = (min(_CELLS, self._grid[0]), min(_CELLS, self._grid[1]))
        return torch.nn.functional.adaptive_avg_pool2d(features, cells).flatten()

    def _whitening(self) -> tuple[Tensor, Tensor]:
        """Mean ``[D]`` and axes ``[D, d]`` of the space in which the patches of these images vary alike."""
        some = self._images[evenly_spaced(len(self._images), _SAMPLED_IMAGES)]
        rows = some[:, None] * (self._grid[0] * self._grid[1]) + self._queries.numpy()
        sample = pool_rows(self._pool, rows.ravel()).cpu().double()
        mean = sample.mean(0)
        values, vectors = torch.linalg.eigh((sample - mean).T @ (sample - mean) / len(sample))
        largest = values.flip(0)[:_DIMENSIONS]
        kept = largest > 1e-6 * largest[0].clamp_min(1e-30)
        axes = vectors.flip(1)[:, :_DIMENSIONS][:, kept] / largest[kept].sqrt()
        return mean.float(), axes.float()


@dataclass(frozen=True)
class _Wanted:
    """Places of the images that a picture is compared with: the most similar, the next, and some farther away."""

    candidates: list[int]
    following: list[int]
    references: list[int]

    @property
    def places(self) -> set[int]:
        return {*self.candidates, *self.following, *self.references}

    def explained(self, by: Mapping[int, float]) -> dict[int, float]:
        """Which candidates explain the picture, from all distances."""
        far_best = min((by[place] for place in self.references), default=0.0)
        next_best = min((by[place] for place in self.following), default=0.0)
        if not far_best or not next_best:
            return {}
        shares = {place: min(by[place] / next_best, _FAR_FACTOR * by[place] / far_best) for place in self.candidates}
        return {place: share for place, share in shares.items() if share < _LIKELY}


def image_rows(pool: Pool, grid: tuple[int, int], image: int) -> Tensor:
    """``[P, D]`` an image's rows of a pool, on the CPU."""
    patches = grid[0] * grid[1]
    return pool_rows(pool, slice(image * patches, (image + 1) * patches)).cpu()


def _explained(patches: Tensor, other: Tensor) -> float:
    """Mean distance of ``[q, d]`` patches to their nearest in ``[P, d]``."""
    nearest = products(patches, -2 * other, (other * other).sum(1)).amin(1) + (patches * patches).sum(1)
    return float(nearest.clamp_(min=0).sqrt_().mean())


def _places(grid: tuple[int, int]) -> Tensor:
    """Places of up to 64 patches, evenly over the picture."""
    side = int(_QUERIES**0.5)
    rows, columns = (np.array(evenly_spaced(size, side)) for size in grid)
    return torch.from_numpy((rows[:, None] * grid[1] + columns).ravel())
