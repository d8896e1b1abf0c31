"""A bank from features, without the images that are to be left out, and what is found out about the images on the way.

Where the fit augments, an image's rows in the pool are followed by those of its copies. The bank is chosen from all of
them; what is asked about images (which show one part, which stand out) is asked about the images as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..data import DataModule, ImageItem
from ..data.digests import FileDigests
from ..data.perceptual_hash import PictureHashes
from ..engine import Engine
from ..fit.copies import find_parts, shown_already
from ..fit.outliers import Outliers, find_outliers
from ..models import Patchcore
from ..models.feature_space import projected
from ..models.images_pool import ImagesPool, without_copies
from ..models.k_center_greedy import Pool
from ..runs.fitted import split_off
from .cross_validation import units_of
from .shared import shared_hashes

__all__ = ["Fitted", "Looks", "fit_bank", "held_but_shown"]


@dataclass(frozen=True)
class Looks:
    """What tells pictures of one part: digests of the files, and perceptual hashes of the images used."""

    digest: FileDigests
    hashes: list[NDArray[np.bool_]]


@dataclass(frozen=True)
class Fitted:
    """What was fitted on, and what stood out.

    Attributes:
        kept: images that the bank is from.
        dropped: images that were left out because they look unlike the others.
        suspects: images among those kept that do.
        outliers: how unlike the others each image is, the dropped ones included.
    """

    kept: list[ImageItem]
    dropped: list[ImageItem]
    suspects: list[ImageItem]
    outliers: Outliers


def fit_bank(
    model: Patchcore,
    pool: Pool,
    items: list[ImageItem],
    looks: Looks,
    fill: Callable[[Pool], None],
    outliers: Literal["keep", "drop"] | int,
    say: Callable[[str], None],
) -> Fitted:
    """Fill the memory bank; once more without the images that are to be dropped, and without their copies.

    Args:
        model: to fit.
        pool: features of the images, each image's own before those of its copies.
        items: the images.
        looks: of the images.
        fill: fills the model's memory bank from a pool.
        outliers: which images to drop; see ``Outliers.worst``.
        say: takes sentences for a person.
    """
    fill(pool)
    grid = model.model.patch_grid(model.pre_processor.spec.input_size)
    batches = tuple(item.batch for item in items if item.batch)
    own = without_copies(pool, len(items), grid[0] * grid[1])
    parts = find_parts(own, grid, [looks.digest(item.path) for item in items], batches, looks.hashes)
    say(str(parts))
    seen, units = projected(pool, model.model.feature_space), units_of(parts.part, batches)
    found = find_outliers(seen, model.coreset_rows, [item.path for item in items], grid, units, model.model.ignored)
    dropped = set(found.worst(outliers))
    if dropped:
        rest = np.setdiff1d(np.arange(len(items)), list(dropped))
        fill(ImagesPool(pool, rest, len(pool) // len(items)))
    return Fitted(
        [item for place, item in enumerate(items) if place not in dropped],
        [items[place] for place in sorted(dropped)],
        [items[place] for place in found.suspects if place not in dropped],
        found,
    )


def held_but_shown(engine: Engine, model: Patchcore, module: DataModule, pool: Pool, looks: Looks) -> list[ImageItem]:
    """Images held out beside the training images that show a part which is among those."""
    held = split_off(module)
    if not held:
        return []
    fitted, spec = {looks.digest(item.path) for item in module.train}, model.pre_processor.spec
    dataset, hashes = module.dataset(held, spec), PictureHashes()
    with engine.features(model, dataset, watch=hashes.watch) as store:
        used = [held[place] for place in store.images]
        grid, others = model.model.patch_grid(spec.input_size), shared_hashes(hashes, dataset, store)
        own = without_copies(pool, len(looks.hashes), grid[0] * grid[1])
        seen = shown_already(own, store.pool(), grid, looks.hashes, others)
    return [item for item, known in zip(used, seen, strict=True) if known or looks.digest(item.path) in fitted]
