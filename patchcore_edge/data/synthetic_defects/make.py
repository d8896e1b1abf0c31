"""Which defect goes on which image, where, how large and how strong; and that it can be seen at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.images.preprocess import Image

from .foreground import part_of
from .marks import scratch, smear, spots
from .material import cut_paste, foreign, missing, torn
from .site import Layer, Pixels, Site, mean_channel

__all__ = ["KINDS", "SyntheticDefect", "make_defects", "synthetic_defects"]

_Maker = Callable[[Site, np.random.Generator], Layer]
_MAKERS: dict[str, _Maker] = {
    "torn": torn,
    "foreign": foreign,
    "scratch": scratch,
    "spots": spots,
    "smear": smear,
    "missing": missing,
    "cut_paste": cut_paste,
}
KINDS = tuple(_MAKERS)
"""Names of the kinds. Images take them in turn, in an order that the seed shuffles anew for every seven images."""

_ON_PART = 0.8
_LARGEST = 0.25
"""Of the shorter side."""
_ORDER, _STRENGTH, _DEFECT = range(3)
"""What a seed is for, so that no two generators are the same."""
_TURNS = (0.6180339887, 0.4142135624)
"""Fractions of the golden ratio and of the root of two: strengths go round with the images and the numbers, evenly."""
_CLEAR, _CLEAR_SMOOTHED = 2.5, 0.5
"""A change's root mean square in units of the noise. New noise in the place of the old makes 1.4, and 0.2 once it is
smoothed over a quarter of a cell: what is above either is no noise."""
_LEAST = 1.5
"""Grey levels, whatever the noise."""
_STEPS_UP = 6
_GROWTH = (1.0, 1.25, 1.6)
"""Sizes that are tried, in the drawn size: some shapes come out smaller than a cell, or find no contrast."""


@dataclass(frozen=True)
class SyntheticDefect:
    """A picture of a good part with one defect.

    Attributes:
        image: HxWx3 uint8 BGR; grey (equal channels) where the good picture is.
        mask: HxW bool, all pixels that differ from the good picture, and pinholes between them.
        kind: one of ``KINDS``.
        strength: in [0, 1], from barely visible in this picture's noise and texture to plain. As drawn: a defect that
            would drown in the noise is made stronger.
        source: index of the good picture.
    """

    image: Image
    mask: NDArray[np.bool_]
    kind: str
    strength: float
    source: int


def make_defects(
    images: Sequence[Image],
    per_image: int = 1,
    seed: int = 0,
    *,
    cell: int = 8,
    hidden: NDArray[np.bool_] | None = None,
) -> Iterator[SyntheticDefect]:
    """Defects on good pictures, one after the other: the first picture's, then the second's.

    Defect ``j`` of image ``i`` depends on ``seed``, ``i``, ``j`` and the images only: not on ``per_image``, nor on any
    global generator. An image's first seven defects are of different kinds; kinds and strengths are spread evenly over
    a set of any size. Four of five have their centre on the part, where one stands out from a background.

    Args:
        images: HxWx3 uint8 BGR at the model's size. May decode when asked: an image is asked for once for itself, and
            now and then for its texture.
        per_image: how many defects, each on a copy of its own.
        seed: not negative.
        cell: side of one cell of the model's patch grid, pixels: the smallest defect. The largest is a quarter of
            the picture's shorter side; sizes are uniform in their logarithm.
        hidden: HxW bool, where nothing counts: no defect has its centre there. Nowhere when None.

    Raises:
        ValueError: ``per_image`` or ``cell`` below 1, a negative seed, or (when it is reached) an image of another
            shape or dtype.
    """
    if per_image < 1 or cell < 1 or seed < 0:
        raise ValueError("per_image and cell have to be at least 1, and seed not negative.")
    return _all_defects(images, per_image, seed, cell, hidden)


def synthetic_defects(images: Sequence[Image], seed: int = 0) -> list[Image]:
    """One defective copy, HxWx3 uint8 BGR, of each image: the pictures of ``make_defects``."""
    return [defect.image for defect in make_defects(images, seed=seed)]


def _all_defects(
    images: Sequence[Image], per_image: int, seed: int, cell: int, hidden: NDArray[np.bool_] | None
) -> Iterator[SyntheticDefect]:
    for source in range(len(images)):
        image = images[source]
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"Image {source} is {image.dtype} of shape {image.shape}, not HxWx3 uint8.")
        part = part_of(image)
        for number in range(per_image):
            yield _defect(images, image, part, hidden, source, number, seed, cell)


def _defect(
    images: Sequence[Image],
    image: Image,
    part: NDArray[np.bool_],
    hidden: NDArray[np.bool_] | None,
    source: int,
    number: int,
    seed: int,
    cell: int,
) -> SyntheticDefect:
    rng = np.random.default_rng((seed, _DEFECT, source, number))
    kind, strength = _kind(seed, source, number), _strength(seed, source, number)
    height, width = image.shape[:2]
    smallest = min(cell, height / 2, width / 2)
    size = float(np.exp(rng.uniform(np.log(smallest), np.log(max(smallest, _LARGEST * min(height, width))))))
    other = _other(images, source, rng)
    grey = bool(np.array_equal(image[..., 0], image[..., 1]) and np.array_equal(image[..., 1], image[..., 2]))
    places = _outline(part, size) if kind == "missing" and rng.random() < 0.5 else part
    site = Site(image, part, other, _centre(places, hidden, smallest, rng), size, strength, cell, grey)
    made, mask = _made(site, _MAKERS[kind], rng)
    return SyntheticDefect(made, mask, kind, strength, source)


def _made(site: Site, maker: _Maker, rng: np.random.Generator) -> tuple[Image, NDArray[np.bool_]]:
    """The picture and its mask; a disc where the maker finds nothing to be seen, as on one pixel of a flat picture."""
    for growth in _GROWTH:
        grown = replace(site, size=growth * site.size)
        made = _laid(grown, maker(grown, rng), rng)
        if made is not None:
            return made, _mask(grown, made)
    y, x = grown.offsets
    disc = np.clip(grown.size / 2 + 1.5 - np.sqrt(y * y + x * x), 0, 1).astype(np.float32)
    change = grown.sign(rng) * max(_STEPS_UP, 2 * grown.amplitude) * disc[..., None]
    made = _added(grown, change)
    return made, _mask(grown, made)


def _kind(seed: int, source: int, number: int) -> str:
    turn, place = divmod(source, len(KINDS))
    order = np.random.default_rng((seed, _ORDER, turn)).permutation(len(KINDS))
    return KINDS[int(order[(place + number) % len(KINDS)])]


def _strength(seed: int, source: int, number: int) -> float:
    start = np.random.default_rng((seed, _STRENGTH)).random()
    return float((start + source * _TURNS[0] + number * _TURNS[1]) % 1)


def _other(images: Sequence[Image], source: int, rng: np.random.Generator) -> Callable[[], Image] | None:
    if len(images) < 2:
        return None
    place = (source + int(rng.integers(1, len(images)))) % len(images)
    return lambda: images[place]


def _outline(part: NDArray[np.bool_], size: float) -> NDArray[np.bool_]:
    """The part's pixels within a third of the size from its outline, where pieces break off; all where it has none."""
    kernel = np.ones((2 * int(size / 3) + 1,) * 2, np.uint8)
    near = part & (cv2.erode(part.astype(np.uint8), kernel) == 0)
    return near if near.any() else part


def _centre(
    part: NDArray[np.bool_], hidden: NDArray[np.bool_] | None, smallest: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Row and column: on the part, or in one of five anywhere; half the smallest defect from the picture's border."""
    on_part = rng.random() < _ON_PART
    if on_part or hidden is not None:
        allowed = part if on_part else np.ones_like(part)
        if hidden is not None:
            inner = _within(allowed & ~hidden, smallest)
            allowed = inner if inner.any() else _within(~hidden, smallest)
            allowed = allowed if allowed.any() else ~hidden
        places = np.flatnonzero(allowed)
        at = divmod(int(places[rng.integers(len(places))]), part.shape[1])
    else:
        at = int(rng.integers(part.shape[0])), int(rng.integers(part.shape[1]))
    row, column = (
        min(max(float(v), smallest / 2), side - 1 - smallest / 2) for v, side in zip(at, part.shape, strict=True)
    )
    return row, column


def _within(places: NDArray[np.bool_], smallest: float) -> NDArray[np.bool_]:
    """Those half the smallest defect from the picture's border: a centre is not moved from there."""
    edge = int(np.ceil(smallest / 2))
    inner = np.zeros_like(places)
    rows, columns = (slice(edge, side - edge) for side in places.shape)
    inner[rows, columns] = places[rows, columns]
    return inner


def _laid(site: Site, layer: Layer, rng: np.random.Generator) -> Image | None:
    """The picture with the layer on it, brighter or darker step by step until it can be seen; None if it cannot."""
    change = layer.alpha[..., None] * (layer.content - site.patch)
    if site.grey:
        change = np.repeat(mean_channel(change)[..., None], 3, 2)
    step = site.sign(rng) * max(_LEAST, site.noise) * layer.alpha[..., None]
    for _ in range(_STEPS_UP):
        made = _added(site, change)
        if _visible(site, layer.alpha, made[site.window].astype(np.float32) - site.patch):
            return made
        change = change + step
    return None


def _added(site: Site, change: Pixels) -> Image:
    made = site.image.copy()
    made[site.window] = np.clip(np.rint(site.patch + change), 0, 255).astype(np.uint8)
    return made


def _mask(site: Site, made: Image) -> NDArray[np.bool_]:
    changed = (made[site.window] != site.image[site.window]).any(2).astype(np.uint8)
    mask = np.zeros(made.shape[:2], np.bool_)
    mask[site.window] = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)).astype(np.bool_)
    return mask


def _visible(site: Site, alpha: Pixels, change: Pixels) -> bool:
    """Whether the change is above the noise, and as wide or high as a cell at least."""
    inside = alpha > 0.3 * alpha.max()
    if not inside.any():
        return False
    grey = mean_channel(change)
    smoothed = cv2.GaussianBlur(grey, (0, 0), site.cell / 4)
    sharp, smooth = (float(np.sqrt(np.square(values[inside]).mean())) for values in (grey, smoothed))
    spans = (np.ptp(np.flatnonzero((grey != 0).any(axis))) + 1 if grey.any() else 0 for axis in (0, 1))
    clear = sharp >= _LEAST and (sharp >= _CLEAR * site.noise or smooth >= _CLEAR_SMOOTHED * site.noise)
    return clear and max(spans) >= min(site.cell, *(side / 2 for side in site.image.shape[:2]))
