"""Images that show one and the same part: n in a promise counts parts, and no fold may hold one part's other picture.

Equal files are found by their digests. Pictures of one part taken twice (the next frame of a video, another exposure,
saved again with more compression) are found by perceptual hashes that differ far less than those of other parts, and by
patch features: one picture explains the other clearly better than pictures of other parts do. Explaining is the mean
distance of some of one picture's patches to their nearest patches anywhere in the other, so that a part may have moved
a little; in a space of few dimensions in which all vary alike, so that what all parts have in common does not decide.
The measure is each data set's own: how well the best of some pictures explains it that are similar but not the most
similar, which are of its kind and of other parts. Where parts are as like as two pictures of one part, nothing can tell
them apart, and they count as one; but pictures from different batches show different parts. What was measured:
docs/thresholds.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.k_center_greedy import Pool, pool_rows, products

__all__ = ["Parts", "find_parts", "shown_already"]

_SHARE = 0.75
"""Two pictures are of one part when each explains the other by a quarter better than any picture of another part."""
_LIKELY = 0.9
"""Or by a tenth, where the hash says so too."""
_HASH_SHARE = 0.5
"""Or when their hashes differ by less than half of what those of similar other parts do."""
_HASH_TELLS = 10
"""Bits by which similar other parts have to differ: saving a picture again turns up to four."""
_HASH_FEW, _HASH_MOST, _HASH_MOST_OF_FEW = 30, 8, 4
"""Bits at most. Among few images even the similar ones are of another kind, and half of their distance says little."""
_QUERIES = 64
_CANDIDATES = 3
_NEXT = 21
"""Candidates are measured by the next similar images: of these too the best is the nearer the more images there are."""
_FAR_FACTOR = 1.5
"""Where even the next ones may show the part, as frames of a video do: twice as well as those of ranks farther away."""
_REFERENCES = 24
_HELD = 128
_KEPT = 512
"""Images whose patches stay in memory in that space, a quarter of a megabyte each."""
_NEAR, _FAR = 0.1, 0.5
"""Ranks of the references among all images by similarity, as shares: a tenth may be of the same part."""
_CELLS = 4
_DIMENSIONS = 64
_SAMPLED_IMAGES = 256
_TOO_FEW = 8
"""With fewer images there are none left to measure by."""


@dataclass(frozen=True)
class Parts:
    """Which part each of n images shows.

    Attributes:
        part: ``[n]`` int64: images of one part have one number; counted from 0 by their first images.
        equal: how many images are equal to an earlier one, byte for byte.
        near: how many others show a part that an earlier one shows.
    """

    part: NDArray[np.int64]
    equal: int = 0
    near: int = 0

    @property
    def count(self) -> int:
        """How many different parts there are."""
        return int(self.part.max()) + 1 if len(self.part) else 0

    @property
    def first(self) -> NDArray[np.int64]:
        """``[count]`` each part's first image."""
        return np.unique(self.part, return_index=True)[1]

    def __str__(self) -> str:
        """One sentence about what was merged; empty where each image shows a part of its own."""
        if not self.equal + self.near:
            return ""
        counted = [(self.equal, "equal files"), (self.near, "further pictures of a part that is there already")]
        which = " and ".join(f"{number} {what}" for number, what in counted if number)
        return f"{len(self.part)} images show {self.count} different parts ({which}); copies count once."


@torch.inference_mode()
def find_parts(
    pool: Pool,
    grid: tuple[int, int],
    digests: Sequence[str],
    batches: Sequence[str] = (),
    hashes: Sequence[NDArray[np.bool_]] = (),
) -> Parts:
    """Tell which images show the same part.

    Args:
        pool: ``[n * P, D]`` features, image after image.
        grid: rows and columns of an image's P patches.
        digests: of the n files.
        batches: of the n images; none are known when empty.
        hashes: ``perceptual_hash`` of the n images; features alone tell when empty.
    """
    first = {digest: index for index, digest in reversed(list(enumerate(digests)))}
    kept = np.array([index for index, digest in enumerate(digests) if first[digest] == index], np.int64)
    named = [batches[image] for image in kept] if batches else [""] * len(kept)
    joined = _joined(_Pictures(pool, grid, kept), _Hashes([hashes[image] for image in kept] if hashes else []), named)
    leader = {int(kept[place]): int(kept[joined[place]]) for place in range(len(kept))}
    numbers: dict[int, int] = {}
    part = np.array([numbers.setdefault(leader[first[digest]], len(numbers)) for digest in digests], np.int64)
    return Parts(part, equal=len(digests) - len(kept), near=len(kept) - len(numbers))


@torch.inference_mode()
def shown_already(
    pool: Pool,
    others: Pool,
    grid: tuple[int, int],
    hashes: Sequence[NDArray[np.bool_]] = (),
    other_hashes: Sequence[NDArray[np.bool_]] = (),
) -> list[bool]:
    """For each of some other images, whether it shows a part that is in the pool.

    Args:
        pool: ``[n * P, D]`` features, image after image.
        others: ``[m * P, D]`` features of the other images.
        grid: rows and columns of an image's P patches.
        hashes: ``perceptual_hash`` of the n images; features alone tell when empty.
        other_hashes: of the m others.
    """
    patches = grid[0] * grid[1]
    known, hashed = _Pictures(pool, grid, np.arange(len(pool) // patches)), _Hashes(hashes)
    asked = range(len(others) // patches)
    if known.count < _TOO_FEW:
        return [False for _ in asked]
    rows = [_rows(others, grid, image) for image in asked]
    if not hashes:
        return [bool(_links(known, hashed, one, None)) for one in rows]
    return [bool(_links(known, hashed, one, bits)) for one, bits in zip(rows, other_hashes, strict=True)]


class _Hashes:
    """Images by their perceptual hashes; none when empty.

    Args:
        hashes: ``[64]`` each.
    """

    def __init__(self, hashes: Sequence[NDArray[np.bool_]]) -> None:
        # As ±1, so that a product counts the bits that agree.
        self._signs = np.array(hashes, np.float32) * 2 - 1

    def same_part(self, bits: NDArray[np.bool_], explained: dict[int, float], own: int | None = None) -> set[int]:
        """Places of the images that show a picture's part.

        Those that differ by less than half of what similar other parts do; and of those that explain its features,
        which noise can make alike too, the ones that differ by no more.

        Args:
            bits: the picture's hash.
            explained: places of the images that explain its features.
            own: its own place, if it is one of the images.
        """
        signs = np.asarray(bits, np.float32) * 2 - 1
        apart = (len(signs) - self._signs @ signs) / 2
        if own is not None:
            apart[own] = np.inf
        others = len(apart) - (own is not None)
        rank = min(max(_CANDIDATES, int(_NEAR * others)), others - 1)
        usual = np.partition(apart, rank)[rank]
        most = _HASH_MOST if others >= _HASH_FEW else _HASH_MOST_OF_FEW
        near = np.flatnonzero((apart < _HASH_SHARE * usual) & (apart <= most)) if usual >= _HASH_TELLS else ()
        return {
            place for place, share in explained.items() if (share < _SHARE and apart[place] <= usual) or place in near
        }

    def __len__(self) -> int:
        return len(self._signs)

    def __getitem__(self, place: int) -> NDArray[np.bool_]:
        return np.asarray(self._signs[place] > 0)


class _Pictures:
    """Images by how well they explain others.

    Args:
        pool: features, image after image.
        grid: rows and columns of an image's P patches.
        images: ``[m]`` those of the pool that are meant; places below are places among them.
    """

    def __init__(self, pool: Pool, grid: tuple[int, int], images: NDArray[np.int64]) -> None:
        self._pool, self._grid, self._images = pool, grid, images
        self.count = len(images)
        if self.count < _TOO_FEW:
            return
        self._kept: dict[int, Tensor] = {}
        self._mean, self._axes = _whitening(pool, grid, images)
        self._queries = _places(grid)
        self._summaries = torch.stack([self._summary(self._patches(place)) for place in range(self.count)])
        held = np.unique(np.linspace(0, self.count - 1, min(_HELD, self.count)).round().astype(np.int64))
        self._held = {int(place): self._patches(int(place)) for place in held}

    def explaining(self, rows: Tensor, own: int | None = None) -> dict[int, float]:
        """Places of the images that explain ``[P, D]`` features better than any picture of another part does.

        With the share that their distance is of the best other part's; under ``_SHARE`` it tells by itself.

        Args:
            rows: of the picture in question.
            own: its own place, if it is one of the images.
        """
        patches = self._whitened(rows)
        apart = (self._summaries - self._summary(patches)).square().sum(1).numpy()
        order = [int(place) for place in np.argsort(apart, kind="stable") if place != own]
        ranked = {place: rank for rank, place in enumerate(order)}
        near, far = max(_CANDIDATES, int(_NEAR * len(order))), max(_TOO_FEW - 2, int(_FAR * len(order)))
        between = sorted((ranked[place], place) for place in self._held if place != own)
        references = [place for rank, place in between if near <= rank <= far][:_REFERENCES]
        queries = patches[self._queries]
        usual = min((_explained(queries, self._held[place]) for place in references), default=0.0)
        next_ones = order[_CANDIDATES : _CANDIDATES + _NEXT]
        next_best = min((_explained(queries, self._patches(place)) for place in next_ones), default=0.0)
        if not usual or not next_best:
            return {}
        own_part = {place: _explained(queries, self._patches(place)) for place in order[:_CANDIDATES]}
        shares = {place: min(one / next_best, _FAR_FACTOR * one / usual) for place, one in own_part.items()}
        return {place: share for place, share in shares.items() if share < _LIKELY}

    def rows(self, place: int) -> Tensor:
        """``[P, D]`` an image's features."""
        return _rows(self._pool, self._grid, int(self._images[place]))

    def _patches(self, place: int) -> Tensor:
        if place not in self._kept and len(self._kept) < _KEPT:
            self._kept[place] = self._whitened(self.rows(place))
        return self._kept[place] if place in self._kept else self._whitened(self.rows(place))

    def _whitened(self, rows: Tensor) -> Tensor:
        return (rows - self._mean) @ self._axes

    def _summary(self, patches: Tensor) -> Tensor:
        """Means over a coarse grid, to find what is worth a closer look."""
        features = patches.T.reshape(1, -1, *self._grid)
        cells = (min(_CELLS, self._grid[0]), min(_CELLS, self._grid[1]))
        return torch.nn.functional.adaptive_avg_pool2d(features, cells).flatten()


def _joined(pictures: _Pictures, hashes: _Hashes, batches: Sequence[str]) -> NDArray[np.int64]:
    """``[m]`` for each image the place of the first one that shows its part."""
    leaders = np.arange(pictures.count)
    if pictures.count < _TOO_FEW:
        return leaders
    links = [
        _links(pictures, hashes, pictures.rows(place), hashes[place] if len(hashes) else None, place)
        for place in range(pictures.count)
    ]
    for place, others in enumerate(links):
        for other in others:
            if place in links[other] and batches[place] == batches[other]:
                low, high = sorted((int(leaders[place]), int(leaders[other])))
                leaders[leaders == high] = low
    return leaders


def _links(
    pictures: _Pictures, hashes: _Hashes, rows: Tensor, bits: NDArray[np.bool_] | None, own: int | None = None
) -> set[int]:
    """Places of the images that show the part of a picture with these features and this hash, if it is known."""
    explained = pictures.explaining(rows, own)
    if bits is None:
        return {place for place, share in explained.items() if share < _SHARE}
    return hashes.same_part(bits, explained, own)


def _explained(patches: Tensor, other: Tensor) -> float:
    """Mean distance of ``[q, d]`` patches to their nearest in ``[P, d]``."""
    nearest = products(patches, -2 * other, (other * other).sum(1)).amin(1) + (patches * patches).sum(1)
    return float(nearest.clamp_(min=0).sqrt_().mean())


def _whitening(pool: Pool, grid: tuple[int, int], images: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Mean ``[D]`` and axes ``[D, d]`` of the space in which the patches of these images vary alike."""
    some = images[np.unique(np.linspace(0, len(images) - 1, min(_SAMPLED_IMAGES, len(images))).astype(np.int64))]
    places = _places(grid)
    sample = torch.cat([_rows(pool, grid, int(image))[places] for image in some]).double()
    mean = sample.mean(0)
    values, vectors = torch.linalg.eigh((sample - mean).T @ (sample - mean) / len(sample))
    largest = values.flip(0)[:_DIMENSIONS]
    kept = largest > 1e-6 * largest[0].clamp_min(1e-30)
    axes = vectors.flip(1)[:, :_DIMENSIONS][:, kept] / largest[kept].sqrt()
    return mean.float(), axes.float()


def _rows(pool: Pool, grid: tuple[int, int], image: int) -> Tensor:
    patches = grid[0] * grid[1]
    return pool_rows(pool, slice(image * patches, (image + 1) * patches)).cpu()


def _places(grid: tuple[int, int]) -> Tensor:
    """Places of up to 64 patches, evenly over the picture."""
    side = int(_QUERIES**0.5)
    rows, columns = (np.unique(np.linspace(0, size - 1, min(side, size)).round().astype(np.int64)) for size in grid)
    return torch.from_numpy((rows[:, None] * grid[1] + columns).ravel())
