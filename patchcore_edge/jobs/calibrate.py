"""``calibrate``: thresholds for a run, with what they promise and what they would catch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchcore_edge_runtime.bundle.manifest import CalibrationFacts
from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.files import read_image
from patchcore_edge_runtime.images.frame_check import FrameLimits, learn_limits, measure
from patchcore_edge_runtime.images.preprocess import Image, PreprocessSpec, preprocess
from patchcore_edge_runtime.verdict import Thresholds

from ..data import DataModule, ImageDataset, ImageItem, describe_batches, open_data
from ..data.synthetic_defects import make_defects
from ..engine import Engine
from ..fit.copies import Parts, find_parts
from ..fit.embedder import Embedder
from ..fit.feature_store import FeatureStore
from ..fit.outliers import patch_grid
from ..metrics.evaluator import Scores, collect_scores
from ..metrics.score_order import Shift, file_order, find_shift
from ..models import Patchcore
from ..models.k_center_greedy import Pool
from ..runs.checkpoint import Calibration, RunFacts, load_run, save_calibration
from ..thresholds import DEFAULT_FPR, Caught, GoodScores, calibrate_good, calibrate_on_defects, describe, require_rate
from .cross_validation import OutOfFold, Scorer, folds, out_of_fold_scores, units_of, unseen_bank
from .train import evenly, file_sha256

__all__ = ["calibrate_run"]

_DEFECTS = 384
"""Synthetic defects in all: a share of them is known to 2.5 points."""
_PER_IMAGE = 3
_STRETCHES = 10
_DEFECT_SEED = 7

_Floats = NDArray[np.float32]
_Notify = Callable[[str], None]


@dataclass(frozen=True)
class _Scored:
    """Good images out of sample, and what a graph will be judged on.

    Attributes:
        items: the good images, in file order.
        good: their scores.
        caught: scores of defects.
        method: how the scores came to be out of sample.
        shift: a stretch of files that stands apart; None where none does or batches are known.
        kept: indices of the images to keep, with their scores by the bank that is kept with them.
        bank: that bank, where it is not the run's own.
    """

    items: list[ImageItem]
    good: GoodScores
    caught: Caught
    method: Literal["held-out", "cross-fitted"]
    shift: Shift | None
    kept: dict[int, float]
    bank: Tensor | None = None


def calibrate_run(
    folder: Path,
    data: Path | DataModule,
    target_fpr: float | None,
    device: str,
    *,
    strict: bool = False,
    group_by: str | None = None,
    notify: _Notify | None = None,
) -> str:
    """Set a run's thresholds; returns what a person should know.

    From, in this order: the validation split, by the highest F1 where it has labelled defects and no rate is asked for;
    the images among ``data`` that the fit held out; a plain folder of good images that the run was not trained on; the
    training images themselves, cross-fitted.

    Args:
        folder: RUN.
        data: with a validation split, or good images.
        target_fpr: share of good parts that may be called NG; when None and there are no labelled defects, a rate of at
            most 5 % that the images support.
        device: torch's name.
        strict: stop at an image that cannot be read.
        group_by: pattern that finds an image's batch in its path; the run's own when None.
        notify: takes a sentence for a person before the work.

    Raises:
        ConfigError: the rate is not in (0, 1), or the images do not give thresholds.
        DataError: an image that the run was trained on is among others that it was not.
        CheckpointError: ``folder`` is no checkpoint.
    """
    if target_fpr is not None:
        require_rate(target_fpr)
    model, facts = load_run(folder)
    module = open_data(data, group_by=group_by or facts.group_by)
    items, trained_on = _calibration_items(module, facts)
    _say(notify, describe_batches([item for item in items if not item.is_defective]))
    job = _Job(Engine(device, strict=strict), model, facts, notify)
    if target_fpr is None and any(item.is_defective for item in items):
        scored, thresholds, found = job.by_f1(items, str(module.root))
    else:
        scored = job.cross_fitted(items) if trained_on else job.held_out(items)
        thresholds, found = calibrate_good(scored.good, target_fpr, str(module.root), scored.method, scored.caught)
    found = _with_shift(found, scored)
    _save(folder, model.pre_processor.spec, scored, thresholds, found)
    return "\n".join([describe(thresholds, found), *(f"Warning: {warning}" for warning in found.warnings)])


class _Job:
    """One calibration: the model, and how its images are scored."""

    def __init__(self, engine: Engine, model: Patchcore, facts: RunFacts, notify: _Notify | None) -> None:
        self._engine, self._model, self._facts, self._notify = engine, model, facts, notify
        self._size = model.pre_processor.spec.input_size

    def by_f1(self, items: Sequence[ImageItem], data: str) -> tuple[_Scored, Thresholds, CalibrationFacts]:
        """Thresholds of the highest F1; the good images' scores are those of the run's own bank."""
        dataset = DataModule.dataset(items, self._model.pre_processor.spec)
        scores = collect_scores(self._engine.stream(self._model, dataset))
        good = [i for i, item in enumerate(dataset.items) if not item.is_defective]
        names = tuple(dataset.items[i].path.name for i in good)
        kept = GoodScores(scores.scores[good], scores.map_maxima[good], names)
        parts = [dataset.items[i] for i in good]
        caught = Caught(self._synthetic(parts), scores.scores[scores.labels])
        thresholds, found = calibrate_on_defects(
            scores.scores, scores.labels, scores.map_maxima, scores.pixels, DEFAULT_FPR, data, names, caught
        )
        return _Scored(parts, kept, caught, "held-out", None, _spread(kept.scores)), thresholds, found

    def held_out(self, items: Sequence[ImageItem]) -> _Scored:
        """Images that the run's bank has not seen."""
        good = _in_order([item for item in items if not item.is_defective])
        module = DataModule(good[0].path.parent, good)
        bank = self._model.model.memory_bank
        with self._engine.features(self._model, module) as store:
            scorer, pool, used = self._opened(store, good)
            found = [scorer(scorer.image(pool, image), bank) for image in range(len(used))]
            parts = self._parts(scorer, pool, used)
        scores, maxima = (np.array(column, np.float32) for column in zip(*found, strict=True))
        caught = Caught(self._synthetic(used), self._labelled([item for item in items if item.is_defective]))
        known = self._good(used, scores, maxima, parts)
        shift = None if known.batches else _shift(used, scores)
        return _Scored(used, known, caught, "held-out", shift, _spread(scores))

    def cross_fitted(self, items: Sequence[ImageItem]) -> _Scored:
        """The training images, each by a bank that has not seen it, nor its part or batch."""
        good = _in_order(items)
        module = DataModule(good[0].path.parent, good)
        with self._engine.features(self._model, module) as store:
            scorer, pool, used = self._opened(store, good)
            parts = self._parts(scorer, pool, used)
            batches = tuple(item.batch for item in used if item.batch)
            found = self._out_of_fold(scorer, pool, used, units_of(parts.part, batches))
            shift = None if batches else _shift(used, found.scores)
            if shift is not None:
                # Neighbours are alike: whole stretches of files are held out, as if each were a batch.
                batches = tuple(f"stretch {place}" for place in _stretches(len(used)))
                found = self._out_of_fold(scorer, pool, used, units_of(parts.part, batches))
            units = units_of(parts.part, batches)
            size = len(self._model.model.memory_bank)
            bank, unseen = unseen_bank(scorer, pool, units, size, self._facts.seed, device=self._engine.device)
            by_bank = np.array([scorer(scorer.image(pool, int(i)), bank)[0] for i in unseen], np.float32)
        known = self._good(used, found.scores, found.maxima, parts, batches)
        kept = {int(unseen[place]): score for place, score in _spread(by_bank).items()}
        return _Scored(used, known, Caught(found.defects), "cross-fitted", shift, kept, bank)

    def _opened(self, store: FeatureStore, items: Sequence[ImageItem]) -> tuple[Scorer, Pool, list[ImageItem]]:
        scorer = Scorer(self._model.model, patch_grid(self._model.model, self._size), self._size)
        return scorer, store.pool(), [items[place] for place in store.images]

    def _parts(self, scorer: Scorer, pool: Pool, items: Sequence[ImageItem]) -> Parts:
        batches = [item.batch for item in items if item.batch]
        parts = find_parts(pool, scorer.grid, [file_sha256(item) for item in items], batches)
        _say(self._notify, str(parts))
        return parts

    def _good(
        self,
        items: Sequence[ImageItem],
        scores: _Floats,
        maxima: _Floats,
        parts: Parts,
        batches: tuple[str, ...] = (),
    ) -> GoodScores:
        batches = batches or tuple(item.batch for item in items if item.batch)
        suspects = set(self._facts.suspect_sha256)
        named = frozenset(item.path.name for item in items if suspects and file_sha256(item) in suspects)
        return GoodScores(scores, maxima, tuple(item.path.name for item in items), parts.part, batches, named)

    def _out_of_fold(
        self, scorer: Scorer, pool: Pool, items: Sequence[ImageItem], units: NDArray[np.int64]
    ) -> OutOfFold:
        per_image = _per_image(len(items))
        shown = set(evenly(len(items)))
        embed = Embedder(self._model, per_image * len(shown))

        def defects(fold: NDArray[np.int64]) -> Iterator[Tensor]:
            some = [items[int(i)] for i in fold if int(i) in shown]
            return self._embedded(embed, some, per_image) if some else iter(())

        ratio, seed = self._model.coreset_sampling_ratio, self._facts.seed
        return out_of_fold_scores(scorer, pool, folds(units, seed), ratio, seed, defects, self._engine.device)

    def _synthetic(self, items: Sequence[ImageItem]) -> _Floats:
        """Scores of synthetic defects on some good images, by the run's own bank."""
        some = [items[place] for place in evenly(len(items))]
        per_image = _per_image(len(items))
        scorer = Scorer(self._model.model, patch_grid(self._model.model, self._size), self._size)
        rows = self._embedded(Embedder(self._model, per_image * len(some)), some, per_image)
        return np.array([scorer(one, self._model.model.memory_bank)[0] for one in rows], np.float32)

    def _embedded(self, embed: Embedder, items: Sequence[ImageItem], per_image: int) -> Iterator[Tensor]:
        """``[P, D]`` features of the defects on some images."""
        dataset = DataModule.dataset(items, self._model.pre_processor.spec)
        images = [dataset.image(index) for index in range(len(dataset))]
        for defect in make_defects(images, per_image, _DEFECT_SEED):
            yield embed(torch.from_numpy(defect.image)[None].to(self._engine.device))

    def _labelled(self, items: Sequence[ImageItem]) -> _Floats:
        if not items:
            return np.empty(0, np.float32)
        dataset = DataModule.dataset(items, self._model.pre_processor.spec)
        scores: Scores = collect_scores(self._engine.stream(self._model, dataset, "defects"))
        return scores.scores


def _calibration_items(module: DataModule, facts: RunFacts) -> tuple[list[ImageItem], bool]:
    """The images to calibrate with, and whether they are those that the run was trained on."""
    items = module.validation or module.train
    seen = set(facts.train_sha256)
    digests = [file_sha256(item) for item in items]
    known = [item for item, digest in zip(items, digests, strict=True) if digest in seen]
    unseen = [item for item, digest in zip(items, digests, strict=True) if digest not in seen]
    held_out = set(facts.held_out_sha256) & set(digests) - seen
    if known and held_out and not module.validation:
        # The folder that was split for the fit, with both parts in it, less what the fit took out of both.
        left_out = set(facts.left_out_sha256)
        return [item for item in unseen if file_sha256(item) not in left_out], False
    if known and (module.validation or any(_is_usable(item, facts.preprocess) for item in unseen)):
        raise DataError(
            f"{known[0].path} is one of the images the model was trained on and would score near zero; "
            "calibrate with good images that were held out."
        )
    if not module.validation and module.test and not known:
        raise DataError(
            f"{module.root} has no validation/good, and the run was not trained on its train/good; "
            "give the data that it was trained on, or a folder of held-out good images."
        )
    return items, bool(known)


def _is_usable(item: ImageItem, spec: PreprocessSpec) -> bool:
    """Whether the fit could have used a file; it leaves out those that cannot be read."""
    try:
        DataModule.dataset([item], spec).image(0)
    except DataError:
        return False
    return True


def _in_order(items: Sequence[ImageItem]) -> list[ImageItem]:
    return [items[i] for i in file_order([item.path for item in items])]


def _per_image(count: int) -> int:
    return min(max(_DEFECTS // max(count, 1), 1), _PER_IMAGE)


def _stretches(count: int) -> NDArray[np.int64]:
    """``[count]`` which of ten stretches of files each is in; fewer stretches of few files."""
    stretches = min(_STRETCHES, max(2, count // 3))
    return np.arange(count) * stretches // count


def _shift(items: Sequence[ImageItem], scores: _Floats) -> Shift | None:
    return find_shift(scores, [item.path.name for item in items])


def _spread(scores: _Floats) -> dict[int, float]:
    """Images to keep with their scores: least to most anomalous, both ends included."""
    order = np.argsort(scores, kind="stable")
    return {int(order[place]): float(scores[order[place]]) for place in evenly(len(order))}


def _with_shift(found: CalibrationFacts, scored: _Scored) -> CalibrationFacts:
    """The record with what the order of the files says of a batch that nobody has seen."""
    if scored.shift is None:
        return found
    if scored.method == "cross-fitted":
        then = (
            f"Neighbouring files are alike, so {found.batches} stretches of files were held out one after the other, "
            "as if each were a batch. Name the batches, if you know them, by subfolders or --group-by."
        )
    else:
        then = (
            "The rate holds for parts of the batches that these images come from; a new batch may be rejected far more "
            "often. Name the batches by subfolders or --group-by, and the bound will be for a new one."
        )
    return found.model_copy(update={"warnings": (*found.warnings, f"{scored.shift} {then}")})


def _save(folder: Path, spec: PreprocessSpec, scored: _Scored, thresholds: Thresholds, found: CalibrationFacts) -> None:
    dataset = DataModule.dataset(scored.items, spec)
    kept = {f"{place:03d}.png": index for place, index in enumerate(scored.kept)}
    calibration = Calibration(
        thresholds=thresholds,
        facts=found,
        images={name: scored.kept[index] for name, index in kept.items()},
        sanity=_sanity_limits(scored.items, spec),
        unseen_bank=scored.bank is not None,
    )
    save_calibration(folder, calibration, _images(dataset, kept), scored.bank)


def _images(dataset: ImageDataset, kept: dict[str, int]) -> Iterable[tuple[str, Image]]:
    return ((name, dataset.image(index)) for name, index in kept.items())


def _sanity_limits(items: Sequence[ImageItem], spec: PreprocessSpec) -> FrameLimits | None:
    """What the frames of these good images have in common; files that cannot be used have been refused before."""
    frames = (read_image(item.path) for item in items)
    return learn_limits(measure(preprocess(frame, spec), frame.shape[:2]) for frame in frames)


def _say(notify: _Notify | None, sentence: str) -> None:
    if notify is not None and sentence:
        notify(sentence)
