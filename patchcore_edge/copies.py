"""Images that show one and the same part: n in a promise counts parts, and no fold may hold one part's other picture.

Equal files are found by their digests. Pictures of one part taken twice (the next frame of a video, another exposure,
saved again with more compression) are found by their patch features: one picture explains the other far better than
pictures of other parts do. Explaining is the mean distance of one picture's patches to their nearest patches anywhere
in the other, so that a part may have moved a little. The measure is each data set's own: how well the best of some
pictures of other parts explains it. Where parts are as like as two pictures of one part, nothing can tell them apart,
and they count as one (docs/thresholds.md has what was measured, beside a perceptual hash).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .models.k_center_greedy import Pool, pool_rows, products

__all__ = ["Parts", "explained", "find_parts", "shown_already"]

_SHARE = 0.5
"""Two pictures are of one part when each explains the other twice as well as any picture of another part does."""
_QUERIES = 64
_CANDIDATES = 3
_REFERENCES = 24
_CELLS = 4


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
def find_parts(pool: Pool, grid: tuple[int, int], digests: Sequence[str]) -> Parts:
    """Tell which images show the same part.

    Args:
        pool: ``[n * P, D]`` features, image after image.
        grid: rows and columns of an image's P patches.
        digests: of the n files.
    """
    n = len(digests)
    first = {digest: index for index, digest in reversed(list(enumerate(digests)))}
    kept = np.array([index for index, digest in enumerate(digests) if first[digest] == index], np.int64)
    joined = _joined(pool, grid, kept)
    leader = {int(kept[place]): int(kept[joined[place]]) for place in range(len(kept))}
    numbers: dict[int, int] = {}
    part = np.array([numbers.setdefault(leader[first[digest]], len(numbers)) for digest in digests], np.int64)
    return Parts(part, equal=n - len(kept), near=len(kept) - len(numbers))


@torch.inference_mode()
def shown_already(pool: Pool, others: Pool, grid: tuple[int, int]) -> list[bool]:
    """For each of some other images, whether it shows a part that is in the pool.

    Args:
        pool: ``[n * P, D]`` features, image after image.
        others: ``[m * P, D]`` features of the other images.
        grid: rows and columns of an image's P patches.
    """
    patches = grid[0] * grid[1]
    count, more = len(pool) // patches, len(others) // patches
    if count < 4:
        return [False] * more
    summaries = [_summary(_image(pool, grid, image), grid) for image in range(count)]
    summaries += [_summary(_image(others, grid, image), grid) for image in range(more)]
    apart = _apart(np.stack(summaries))[count:, :count]
    places = np.arange(count)
    held = {int(place): _image(pool, grid, place) for place in _references(count)}
    return [
        bool(_same_part(_image(others, grid, image), pool, grid, places, apart[image], held)) for image in range(more)
    ]


@torch.inference_mode()
def explained(patches: Tensor, other: Tensor) -> float:
    """Mean distance of ``[q, D]`` patches to their nearest in ``[P, D]``."""
    center = other.mean(0)
    rows, points = patches - center, other - center
    nearest = products(rows, -2 * points, (points * points).sum(1)).amin(1) + (rows * rows).sum(1)
    return float(nearest.clamp_(min=0).sqrt_().mean())


def _joined(pool: Pool, grid: tuple[int, int], images: NDArray[np.int64]) -> NDArray[np.int64]:
    """``[m]`` for each of these images the place of the first one that shows its part."""
    count = len(images)
    leaders = np.arange(count)
    if count < 4:
        return leaders  # too few others to compare with
    apart = _apart(np.stack([_summary(_image(pool, grid, image), grid) for image in images]))
    held = {int(place): _image(pool, grid, images[place]) for place in _references(count)}
    links = [
        set(_same_part(_image(pool, grid, images[place]), pool, grid, images, apart[place], held))
        for place in range(count)
    ]
    for place, others in enumerate(links):
        for other in others:
            if place in links[other]:
                _join(leaders, place, other)
    return leaders


def _references(count: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(_REFERENCES, count)).round().astype(np.int64))


def _same_part(
    patches: Tensor,
    pool: Pool,
    grid: tuple[int, int],
    images: NDArray[np.int64],
    apart: NDArray[np.float32],
    held: dict[int, Tensor],
) -> list[int]:
    """Places among ``images`` of those that show the part which ``[P, D]`` patches show.

    Args:
        patches: of the picture in question.
        pool: holds the features of ``images``.
        grid: rows and columns of the P patches.
        images: indices into the pool.
        apart: ``[m]`` distances of the summaries of ``images`` to the picture's; infinite to itself.
        held: features of some of ``images`` by place, to measure by.
    """
    queries = patches[_queries(grid)]
    # Pictures of one part come together; the far half has none of this one's, unless it is half of all.
    far = [place for place in held if np.isfinite(apart[place]) and apart[place] >= np.median(apart)]
    usual = min((explained(queries, held[place]) for place in far), default=0.0)
    near = [int(place) for place in np.argsort(apart, kind="stable")[:_CANDIDATES] if np.isfinite(apart[place])]
    return [place for place in near if explained(queries, _image(pool, grid, images[place])) < _SHARE * usual]


def _join(leaders: NDArray[np.int64], one: int, other: int) -> None:
    low, high = sorted((int(leaders[one]), int(leaders[other])))
    leaders[leaders == high] = low


def _image(pool: Pool, grid: tuple[int, int], image: int) -> Tensor:
    patches = grid[0] * grid[1]
    return pool_rows(pool, slice(int(image) * patches, (int(image) + 1) * patches)).cpu()


def _queries(grid: tuple[int, int]) -> Tensor:
    """Places of up to 64 patches, evenly over the picture."""
    side = int(_QUERIES**0.5)
    rows, columns = (np.unique(np.linspace(0, size - 1, min(side, size)).round().astype(np.int64)) for size in grid)
    return torch.from_numpy((rows[:, None] * grid[1] + columns).ravel())


def _summary(patches: Tensor, grid: tuple[int, int]) -> NDArray[np.float32]:
    """``[cells * D]`` means of the features over a coarse grid, to find what is worth a closer look."""
    features = patches.T.reshape(1, -1, *grid)
    cells = (min(_CELLS, grid[0]), min(_CELLS, grid[1]))
    return torch.nn.functional.adaptive_avg_pool2d(features, cells).flatten().numpy()


def _apart(summaries: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[m, m]`` distances between summaries; infinite to itself."""
    centred = torch.from_numpy(summaries - summaries.mean(0))
    squares = (centred * centred).sum(1)
    apart = products(centred, -2 * centred, squares).add_(squares[:, None]).clamp_(min=0).sqrt_()
    apart.fill_diagonal_(torch.inf)
    return apart.numpy()
