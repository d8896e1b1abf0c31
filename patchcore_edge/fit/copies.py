"""Images that show one and the same part: n in a promise counts parts, and no fold may hold one part's other picture.

Equal files are found by their digests. Pictures of one part taken twice (the next frame of a video, another exposure,
saved again with more compression) are found by ``likeness``, which has to hold from either side. Where parts are as
like as two pictures of one part, nothing can tell them apart, and they count as one; but pictures from different
batches show different parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..models.pool import Pool, shard_of
from .hash_likeness import Hashes
from .likeness import FEWEST, SURE, Pictures, image_rows

__all__ = ["Parts", "find_parts", "shown_already"]

_Bits = NDArray[np.bool_]


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
    hashes: Sequence[_Bits] = (),
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
    links: list[set[int]] = [set() for _ in kept]
    if len(kept) >= FEWEST:
        alike = _Alike(Pictures(pool, grid, kept), [hashes[image] for image in kept] if hashes else [])
        links = alike.links()
    joined = _joined(links, [batches[image] for image in kept] if batches else [""] * len(kept))
    leader = {int(kept[place]): int(kept[joined[place]]) for place in range(len(kept))}
    numbers: dict[int, int] = {}
    part = np.array([numbers.setdefault(leader[first[digest]], len(numbers)) for digest in digests], np.int64)
    return Parts(part, equal=len(digests) - len(kept), near=len(kept) - len(numbers))


@torch.inference_mode()
def shown_already(
    pool: Pool,
    others: Pool,
    grid: tuple[int, int],
    hashes: Sequence[_Bits] = (),
    other_hashes: Sequence[_Bits] = (),
) -> list[bool]:
    """For each of some other images, whether it shows a part that is in the pool.

    Args:
        pool: ``[n * P, D]`` features, image after image.
        others: ``[m * P, D]`` features of the other images.
        grid: rows and columns of an image's P patches.
        hashes: ``perceptual_hash`` of the n images; features alone tell when empty.
        other_hashes: of the m others.
    """
    count, asked = (len(some) // (grid[0] * grid[1]) for some in (pool, others))
    if count < FEWEST:
        return [False] * asked
    alike = _Alike(Pictures(pool, grid, np.arange(count)), hashes)
    return alike.showing(others, grid, other_hashes if hashes else [None] * asked)


class _Alike:
    """Which images show the part that a picture shows, by features and, where they are known, hashes."""

    def __init__(self, pictures: Pictures, hashes: Sequence[_Bits]) -> None:
        self._pictures, self._bits = pictures, hashes
        self._hashes = Hashes(hashes) if hashes else None

    def links(self) -> list[set[int]]:
        """For each image the places of the others that show its part."""
        places = self._pictures.places
        explained = self._pictures.explaining(self._pictures.ask(place) for place in places)
        found = [
            self._agreeing(by, self._bits[place] if self._bits else None, place)
            for place, by in zip(places, explained, strict=True)
        ]
        pairs = [(place, other) for place, others in zip(places, found, strict=True) for other in sorted(others)]
        links: list[set[int]] = [set() for _ in range(self._pictures.count)]
        for place, other in self._pictures.together(torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)).tolist():
            links[place].add(other)
        return links

    def showing(self, others: Pool, grid: tuple[int, int], bits: Sequence[_Bits | None]) -> list[bool]:
        """For each image of another pool whether one of these shows its part."""
        shard, patches = shard_of(others), grid[0] * grid[1]
        own, start = (others, 0) if shard is None else (shard.own, shard.start // patches)
        images = range(len(own) // patches)
        explained = self._pictures.explaining(self._pictures.ask_of(image_rows(own, grid, image)) for image in images)
        found = [bool(self._agreeing(by, bits[start + image])) for image, by in zip(images, explained, strict=True)]
        return [bool(one) for one in self._pictures.together(torch.tensor(found, dtype=torch.bool)).tolist()]

    def _agreeing(self, explained: dict[int, float], bits: _Bits | None, own: int | None = None) -> set[int]:
        if self._hashes is None or bits is None:
            return {place for place, share in explained.items() if share < SURE}
        return self._hashes.agreeing(bits, explained, own)


def _joined(links: Sequence[set[int]], batches: Sequence[str]) -> NDArray[np.int64]:
    """``[m]`` for each image the place of the first that shows its part: those of one batch that name each other."""
    leaders = np.arange(len(links))
    for place, others in enumerate(links):
        for other in others:
            if place in links[other] and batches[place] == batches[other]:
                low, high = sorted((int(leaders[place]), int(leaders[other])))
                leaders[leaders == high] = low
    return leaders
