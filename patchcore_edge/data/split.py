"""Holding good images out of the training set."""

from __future__ import annotations

import random
from collections.abc import Sequence

from patchcore_edge_runtime.errors import ConfigError

from .dataset import ImageItem

__all__ = ["hold_out"]


def hold_out(items: Sequence[ImageItem], ratio: float, seed: int) -> tuple[list[ImageItem], list[ImageItem]]:
    """Split good images into those to fit on and those held out; both keep their order, and batches stay whole.

    Args:
        items: sorted, so that the same files give the same split on every machine.
        ratio: share to hold out, in [0, 1); at least one image unless it is 0, and never all. Where batches are known,
            as many of them, drawn at random, as come closest to it.
        seed: decides which.

    Raises:
        ConfigError: the ratio is not in [0, 1), or one image is too few to split.
    """
    if not 0 <= ratio < 1:
        raise ConfigError(f"The share of images to hold out is {ratio}; give a number from 0 to less than 1.")
    if ratio == 0:
        return list(items), []
    if len(items) < 2:
        raise ConfigError("One good image cannot be split; give more images or hold none out.")
    if len({item.batch for item in items}) > 1:
        return _hold_batches_out(items, ratio, seed)
    count = min(max(round(len(items) * ratio), 1), len(items) - 1)
    # Not NumPy's generator: Python promises that random() of a seed never changes, and shuffles with it.
    held = set(sorted(range(len(items)), key=_keys(len(items), seed).__getitem__)[:count])
    return [item for i, item in enumerate(items) if i not in held], [items[i] for i in sorted(held)]


def _hold_batches_out(items: Sequence[ImageItem], ratio: float, seed: int) -> tuple[list[ImageItem], list[ImageItem]]:
    names = sorted({item.batch for item in items})
    keys = _keys(len(names), seed)
    order = [names[i] for i in sorted(range(len(names)), key=keys.__getitem__)]
    sizes = [sum(item.batch in order[:count] for item in items) for count in range(1, len(names))]
    count = 1 + min(range(len(sizes)), key=lambda place: abs(sizes[place] - ratio * len(items)))
    held = set(order[:count])
    return [item for item in items if item.batch not in held], [item for item in items if item.batch in held]


def _keys(count: int, seed: int) -> list[float]:
    generator = random.Random(seed)  # noqa: S311 - nothing secret
    return [generator.random() for _ in range(count)]
