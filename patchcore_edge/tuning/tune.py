"""``tune``: from a folder of good images to a RUN folder whose recipe was found for the part."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from patchcore_edge_runtime.atomic_folder import require_replaceable
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.path_text import path_text

from ..data import DataModule, describe_batches
from ..data.digests import FileDigests
from ..data.photo_size import PhotoSizes
from ..engine import Engine
from ..fit.distributed.ranks import ranks
from ..jobs.beforehand import require_means, require_patches
from ..jobs.calibrate import CalibrationResult, calibrate_run
from ..jobs.shared import shared_digests
from ..jobs.sight import found_sight
from ..jobs.telling import tell_data, telling
from ..jobs.train import train_run
from ..models.feature_extractor import layer_strides, size_step
from ..plugins import Meter, load_meter
from ..runs.checkpoint import RUN_FILE
from ..runs.facts import RunFacts
from .choice import Cost, Judged, choose, finalists, to_beat
from .grounds import JUDGED, Folds, found_folds, pictures_of
from .journal import Journal
from .look import Pictures, columns_of, view_model
from .options import TuneOptions, train_options
from .outcome import Outcome
from .recipe import RULES, Layout, Recipe, View, layer_sets, views
from .search import Search, SearchOptions
from .timing import timed
from .tune_page import write_outcome

__all__ = ["TuneResult", "tune_run"]

_JUDGED_BY = 4
"""Counted up where pictures, defects or their measures change: no search goes on with what was judged by others."""
_FINALISTS = 6
_TRIED_SIDES = (384, 512, 256)


@dataclass(frozen=True)
class TuneResult:
    """What a search found; as a string what a person should know of it.

    Attributes:
        outcome: recipes with what they were judged by, and the one that was chosen.
        run: facts of the run that it left.
        calibration: its thresholds.
    """

    outcome: Outcome
    run: RunFacts
    calibration: CalibrationResult

    def __str__(self) -> str:
        return f"{self.outcome}\n{self.calibration}"


def tune_run(
    data: Path,
    folder: Path,
    options: TuneOptions,
    notify: Callable[[str], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> TuneResult:
    """Find the recipe for the part under ``data``, fit by it on all good images, calibrate, and write the RUN folder.

    Interrupted, it leaves what it has judged in a hidden folder beside ``folder``, and goes on from there when it is
    called again with the same images and options.

    Args:
        data: MVTec layout, or a folder of good images.
        folder: RUN to write; an earlier one is replaced.
        options: what to try and what it may cost.
        notify: takes sentences for a person.
        warn: takes what is doubtful about the data, a sentence each; ``notify`` when None.

    Raises:
        DataError: no data, or too few images that can be used; or something is doubtful, where that is to be refused.
        ConfigError: an option that cannot be met, or no recipe within the limits.
        CheckpointError: ``folder`` is taken by something else.
    """
    require_replaceable(folder, RUN_FILE)
    # Before the work: without it nothing could be timed.
    meter = load_meter()
    require_means(options.backbones, options.train.weights, options.train.device)
    module, say, train = options.train.open(data), telling(notify), options.train
    digests = FileDigests()
    shared_digests([item.path for item in [*module.train, *module.validation]], digests)
    tell_data(module, say, warn, digests, strict=train.strict)
    journal = _journal(folder, options, module, digests)
    with _grounds(module, options, say) as (tried, pictures):
        outcome = _found(tried, pictures, journal, meter, options, len(module.train), say)
        say(f"{outcome.why} It is fitted on all {len(module.train)} good images now.")
        facts = train_run(module, folder, train_options(train, outcome.chosen.recipe), notify)
        calibration = calibrate_run(
            folder, module, options.target_fpr, train.device, strict=train.strict, notify=notify
        )
        ranks().by_first(lambda: write_outcome(folder, outcome, pictures, path_text(data), options))
    journal.discard()
    return TuneResult(outcome, facts, calibration)


def _journal(folder: Path, options: TuneOptions, module: DataModule, digests: FileDigests) -> Journal:
    hidden = folder.absolute().with_name(f".{folder.absolute().name}.tune")
    return Journal(hidden, _fingerprint(options, module, digests), ranks().is_first)


@contextmanager
def _grounds(
    module: DataModule, options: TuneOptions, say: Callable[[str], None]
) -> Iterator[tuple[list[View], Pictures]]:
    """What is tried, the default first, and the pictures to judge it on."""
    say(describe_batches(module.train))
    sight = found_sight([*module.train, *module.validation], options.train.sight, say)
    tried = _views(options, sight.photos)
    say(_plan(tried, sight.photos, len(module.train)))
    sizes = [view.image_size for view in tried]
    # No defect is sharper than a photo could show it: made at a larger size it would speak for that size.
    own = sight.photos.input_size(sight.photos.side, 1)
    seen_at = min(max(sizes, key=_pixels), own, key=_pixels)
    with pictures_of(module, seen_at, sizes[0], sight) as pictures:
        yield tried, pictures


def _pixels(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _found(
    tried: list[View],
    pictures: Pictures,
    journal: Journal,
    meter: Meter,
    options: TuneOptions,
    count: int,
    say: Callable[[str], None],
) -> Outcome:
    deadline = None if options.time_limit is None else time.monotonic() + options.time_limit
    search, usual, length = _prepared(tried, pictures, journal, options, deadline, count, say)
    # First of all: a device that is not there, or does not compute so, is not to be found after the search.
    costs = timed(usual, length, pictures, meter, options)
    if options.precision not in costs:
        raise ConfigError(f"{options.device} does not compute in {options.precision}; give --precision fp32 or int8.")
    search.run(tried, say)
    return _chosen(search, (usual, costs), pictures, meter, options, say)


def _views(options: TuneOptions, photos: PhotoSizes) -> list[View]:
    """Of every backbone, the default first."""
    # An enlarged photo shows nothing more, and defects that were made on it are found the better by all that enlarges.
    most = max(photos.side, photos.default_side)
    sides = options.sides or (photos.default_side, *(side for side in _TRIED_SIDES if side <= most))
    made = []
    for name in options.backbones:
        sizes = list(dict.fromkeys(photos.input_size(side, size_step(name)) for side in sides))
        for size in sizes:
            require_patches(name, layer_sets(layer_strides(name))[0], size, None)
        made += views(name, layer_strides(name), sizes)
    return made


def _plan(tried: list[View], photos: PhotoSizes, count: int) -> str:
    seen = f"{min(count, JUDGED)} of {count}" if count > JUDGED else str(count)
    sizes = ", ".join(dict.fromkeys(f"{view.image_size[1]}x{view.image_size[0]}" for view in tried))
    names = ", ".join(dict.fromkeys(view.backbone for view in tried))
    return (
        f"{count} good images, {photos}. Recipes are judged on {seen} of them, each by banks that have not seen it, "
        f"and on synthetic defects made on them: {names} at {sizes} pixels (width x height)."
    )


def _prepared(
    tried: list[View],
    pictures: Pictures,
    journal: Journal,
    options: TuneOptions,
    deadline: float | None,
    count: int,
    say: Callable[[str], None],
) -> tuple[Search, Recipe, int]:
    """The search, before it begins; the default recipe, and the length of its features."""
    first = tried[0]
    default = Layout(view=first, layers=layer_sets(layer_strides(first.backbone))[0])
    engine, seed = Engine(options.train.device, strict=options.train.strict), options.train.seed
    model = view_model(first, options.train.weights, pictures.sight)
    grid = model.model.patch_grid(first.image_size)
    parted = _folds(journal.folds())
    if parted is None:
        parted = _folds(found_folds(model, default, pictures, engine, seed, say))
    assert parted is not None
    journal.keep_folds(parted)
    patches = grid[0] * grid[1]
    rest = len(pictures.good) - len(parted.images[0])
    search = Search(
        pictures,
        parted.images,
        journal,
        engine,
        SearchOptions(
            bank_size=options.train.bank_size(count * patches, model.model.embedding_dim),
            judged_bank=options.train.bank_size(rest * patches, model.model.embedding_dim),
            seed=seed,
            weights=options.train.weights,
            by_lot=parted.by_lot,
            deadline=deadline,
        ),
    )
    usual = Recipe(layout=default, score=RULES[0], bank_size=search.options.bank_size)
    return search, usual, len(columns_of(model, default.layers))


def _folds(own: Folds | None) -> Folds | None:
    """The first process's folds, None where it has none."""
    plain = None if own is None else ([fold.tolist() for fold in own.images], own.by_lot)
    found = ranks().first_value(plain)
    return None if found is None else Folds([np.array(fold, np.int64) for fold in found[0]], found[1])


def _chosen(
    search: Search,
    usual: tuple[Recipe, dict[str, Cost]],
    pictures: Pictures,
    meter: Meter,
    options: TuneOptions,
    say: Callable[[str], None],
) -> Outcome:
    judged = search.judged()
    default = next(one for one in judged if one.recipe == usual[0])
    basis = to_beat(judged, default)
    named = list({id(one): one for one in (default, *finalists(judged, basis, _FINALISTS))}.values())
    say(f"{len(judged)} recipes were judged; the graphs of {len(named)} are compiled and timed on {options.device}.")
    measured = [
        (
            one,
            usual[1]
            if one is default
            else timed(one.recipe, search.found[one.recipe.layout].dimensions, pictures, meter, options),
        )
        for one in named
    ]
    costs: list[tuple[Judged, Cost]] = [(one, of[options.precision]) for one, of in measured]
    found = choose(costs, basis, options.limits)
    if found is None:
        fastest = min(costs, key=lambda pair: pair[1].milliseconds)[1]
        raise ConfigError(
            f"No recipe keeps within the limits: the fastest takes {fastest.milliseconds:.1f} ms and "
            f"{fastest.megabytes:.1f} MB; raise --budget-ms or --budget-mb, or give smaller --sizes."
        )
    chosen, why = found
    return Outcome(judged, measured, default, chosen, why)


def _fingerprint(options: TuneOptions, module: DataModule, digests: FileDigests) -> str:
    digest = hashlib.sha256()
    train = options.train
    facts = (train.weights, train.seed, train.group_by, train.coreset_size, train.bank_mb, train.coreset_sampling_ratio)
    sight = train.sight
    seen = (sight.bit_depth, sight.roi, sight.ignore_masks)
    digest.update(json.dumps([_JUDGED_BY, *facts, options.sides, options.backbones, seen]).encode())
    for item in [*module.train, *module.validation]:
        digest.update(f"{digests(item.path)} {item.label} {item.batch}".encode())
    return digest.hexdigest()
