"""What all recipes are judged on: pictures, defects on them, and folds that keep together what belongs together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.path_text import path_text

from ..data import DataModule, ImageItem
from ..data.decoded_files import DecodedFiles
from ..data.evenly_spaced import evenly_chosen
from ..data.perceptual_hash import perceptual_hash
from ..engine import Engine
from ..fit.copies import find_parts
from ..jobs.cross_validation import folds, stretches_of, units_of
from ..jobs.sight import Sight
from ..metrics.score_order import file_order, find_shift
from ..models import Patchcore
from ..models.ignored import ignored_cells
from ..models.k_center_greedy import Pool
from .judge import Judge, Seen
from .look import Pictures, columns_of, whole_pool
from .recipe import Layout
from .samples import Defects, made_defects

__all__ = ["JUDGED", "Folds", "found_folds", "pictures_of"]

JUDGED = 120
"""Good images that recipes are judged on, at most."""
_DEFECTS = 360
_MOST_PER_IMAGE = 6
_FOLDS = 3
_CELL = 8
"""Pixels of the default size: side of the smallest defect."""


@dataclass(frozen=True, eq=False)
class Folds:
    """Good images that are judged by banks which have not seen them.

    Attributes:
        images: the places of each fold's images.
        by_lot: whether folds are of whole batches, or of stretches of files as neighbours are alike.
    """

    images: list[NDArray[np.int64]]
    by_lot: bool


@contextmanager
def pictures_of(
    module: DataModule, size: tuple[int, int], default: tuple[int, int], sight: Sight
) -> Iterator[Pictures]:
    """Good images evenly chosen from all, with defects on them, and labelled images where validation has defects.

    Args:
        module: the data.
        size: height and width at which defects are made: the largest that is tried, or the photos' own.
        default: height and width of the default.
        sight: what of the images counts.

    Raises:
        DataError: fewer than two images can be used.
    """
    order = file_order([item.path for item in module.train])
    good = evenly_chosen([module.train[place] for place in order], JUDGED)
    labelled = module.validation if any(item.is_defective for item in module.validation) else []
    real = evenly_chosen(list(labelled), 4 * JUDGED) if labelled else []
    spec = sight.spec(size)
    with DecodedFiles([*good, *real], spec) as files:
        good, real = ([item for item in items if files.is_usable(item.path)] for items in (good, real))
        if len(good) < 2:
            raise DataError(f"{module.root} has {len(good)} images that can be used; give more good images.")
        hidden = ignored_cells(sight.ignore_masks, spec, size)
        yield Pictures(good, real, _defects(good, files, size, default, hidden), files, sight)


def _defects(
    good: Sequence[ImageItem],
    files: DecodedFiles,
    size: tuple[int, int],
    default: tuple[int, int],
    hidden: NDArray[np.bool_] | None,
) -> Defects:
    class Decoded(Sequence[Image]):
        """The pictures, each read when it is asked for."""

        def __len__(self) -> int:
            return len(good)

        def __getitem__(self, place: int) -> Image:  # type: ignore[override]
            return files.pixels(good[place].path)

    per_image = min(max(_DEFECTS // len(good), 1), _MOST_PER_IMAGE)
    cell = max(1, round(_CELL * min(size) / min(default)))
    return made_defects(Decoded(), per_image, cell, hidden)


def found_folds(
    model: Patchcore, layout: Layout, pictures: Pictures, engine: Engine, seed: int, say: Callable[[str], None]
) -> Folds:
    """The good images of each fold: parts and batches whole; stretches of files where neighbours are alike.

    Args:
        model: of the layout's view.
        layout: the default one: its scores tell whether neighbouring files are alike.
        pictures: the good images, in file order.
        engine: extracts features.
        seed: decides which part goes where.
        say: takes sentences for a person.
    """
    spec = model.pre_processor.spec
    batches = tuple(item.batch for item in pictures.good if item.batch)
    with whole_pool(engine, model, pictures.dataset(pictures.good, spec)) as pool:
        grid = model.model.patch_grid(spec.input_size)
        digests = [pictures.files.digest(item.path) for item in pictures.good]
        hashes = [perceptual_hash(pictures.files.pixels(item.path)) for item in pictures.good]
        parts = find_parts(pool, grid, digests, batches, hashes)
        say(str(parts))
        parted = folds(units_of(parts.part, batches), seed, _FOLDS)
        if batches:
            return Folds(parted, len(set(batches)) > 1)
        columns = columns_of(model, layout.layers)
        scores = _scores(pool, grid, spec.input_size, parted, columns, seed, model.counted_rows)
    shift = find_shift(scores, [path_text(item.path.name) for item in pictures.good])
    if shift is None:
        return Folds(parted, False)
    say(f"{shift} Recipes are judged on stretches of files that no bank has seen.")
    return Folds(folds(units_of(parts.part, stretches_of(len(pictures.good))), seed, _FOLDS), True)


def _scores(
    pool: Pool,
    grid: tuple[int, int],
    image_size: tuple[int, int],
    parted: Sequence[NDArray[np.int64]],
    columns: NDArray[np.int64],
    seed: int,
    counted: NDArray[np.bool_] | None,
) -> NDArray[np.float32]:
    """``[n]`` of the good images, each by a bank that has not seen it."""
    none = np.zeros(0, np.int64)
    patches = grid[0] * grid[1]
    seen = Seen(pool, pool[:0], none, np.zeros((0, patches), np.float32), grid, image_size, counted=counted)
    size = max(1, len(pool) // 150)
    return np.asarray(Judge(seen, parted, size, seed)(columns, None).good[0, -1], np.float32)
