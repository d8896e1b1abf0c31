"""Scores of good images by banks that have not seen them, and of defects beside them: what thresholds are set from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchcore_edge_runtime.path_text import path_text

from ..data import ImageItem
from ..data.decoded_files import DecodedFiles
from ..data.evenly_spaced import evenly_chosen, evenly_spaced
from ..data.perceptual_hash import PictureHashes
from ..data.synthetic_defects import make_defects
from ..engine import Engine
from ..fit.copies import Parts, find_parts
from ..fit.distributed.ranks import ranks
from ..fit.distributed.store import ShardedStore
from ..fit.embedder import Embedder
from ..fit.feature_store import FeatureStore
from ..metrics.score_order import Shift, file_order, find_shift
from ..metrics.scores import Scores
from ..models import Patchcore
from ..models.images_pool import without_copies
from ..models.k_center_greedy import Pool
from ..runs.facts import RunFacts
from ..thresholds import Caught, GoodScores
from .cross_validation import (
    OutOfFold,
    Scorer,
    folds,
    image_scores,
    out_of_fold_scores,
    scores_of_all,
    stretches_of,
    units_of,
    unseen_bank,
)
from .shared import shared_hashes, shared_scores

__all__ = ["OutOfSample", "Scored"]

_DEFECTS = 384
"""Synthetic defects in all: a share of them is known to 2.5 points."""
_PER_IMAGE = 3
_DEFECT_SEED = 7

_Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """Good images out of sample, and what a graph will be judged on.

    Attributes:
        items: the good images, in file order.
        good: their scores.
        caught: scores of defects.
        method: how the scores came to be out of sample.
        kept: indices of the images to keep, with their scores by the bank that is kept with them.
        shift: a stretch of files that stands apart; None where none does or batches are known.
        bank: ``[M, D]`` that bank, where it is not the run's own.
        all_scores: of good and defective images together, where both were scored by the run's own bank.
    """

    items: list[ImageItem]
    good: GoodScores
    caught: Caught
    method: Literal["held-out", "cross-fitted"]
    kept: dict[int, float]
    shift: Shift | None = None
    bank: Tensor | None = None
    all_scores: Scores | None = None


class OutOfSample:
    """How the images of one calibration are scored.

    Args:
        engine: on the device to use.
        model: fitted.
        facts: of its run.
        files: the images, decoded.
        notify: takes a sentence for a person; empty ones are not for telling.
    """

    def __init__(
        self, engine: Engine, model: Patchcore, facts: RunFacts, files: DecodedFiles, notify: Callable[[str], None]
    ) -> None:
        self._engine, self._model, self._facts, self._files, self._notify = engine, model, facts, files, notify
        size = model.pre_processor.spec.input_size
        self._scorer = Scorer(model.model, model.model.patch_grid(size), size)

    def labelled(self, items: Sequence[ImageItem]) -> Scored:
        """Good and defective images, by the run's own bank."""
        scores = shared_scores(self._engine, self._model, self._files.dataset(items))
        by_path = {item.path: item for item in items}
        good = np.flatnonzero(~scores.labels)
        parts = [by_path[scores.paths[place]] for place in good]
        known = GoodScores(scores.scores[good], scores.map_maxima[good], _names(parts))
        caught = Caught(self._synthetic(parts), scores.scores[scores.labels])
        return Scored(parts, known, caught, "held-out", _spread(known.scores), all_scores=scores)

    def held_out(self, items: Sequence[ImageItem]) -> Scored:
        """Images that the run's bank has not seen."""
        good = _in_order([item for item in items if not item.is_defective])
        bank, space = self._model.model.memory_bank, self._model.model.feature_space
        dataset, hashes = self._files.dataset(good), PictureHashes()
        with self._engine.features(self._model, dataset, watch=hashes.watch) as store:
            pool, used = _opened(store, good)
            found = image_scores(self._scorer, pool, range(len(used)), self._scorer.patches, bank, space)
            parts = self._parts(pool, used, shared_hashes(hashes, dataset, store))
        scores, maxima = found[:, 0], found[:, 1]
        caught = Caught(self._synthetic(used), self._defective([item for item in items if item.is_defective]))
        known = self._good(used, scores, maxima, parts)
        shift = None if known.batches else _shift(used, scores)
        return Scored(used, known, caught, "held-out", _spread(scores), shift)

    def cross_fitted(self, items: Sequence[ImageItem]) -> Scored:
        """The training images, each by a bank that has not seen it, nor its part or batch."""
        good = _in_order(items)
        dataset, hashes = self._files.dataset(good), PictureHashes()
        with self._engine.features(self._model, dataset, watch=hashes.watch, augment=True) as store:
            pool, used = _opened(store, good)
            parts = self._parts(pool, used, shared_hashes(hashes, dataset, store))
            batches = tuple(item.batch for item in used if item.batch)
            # Of both rounds: to compile a backbone takes a second.
            embed = self._embedder(len(used))
            found = self._out_of_fold(pool, used, units_of(parts.part, batches), embed)
            shift = None if batches else _shift(used, found.scores)
            if shift is not None:
                # Neighbours are alike: whole stretches of files are held out, as if each were a batch.
                batches = stretches_of(len(used))
                found = self._out_of_fold(pool, used, units_of(parts.part, batches), embed)
            bank, kept = self._unseen(pool, units_of(parts.part, batches))
        known = self._good(used, found.scores, found.maxima, parts, batches)
        return Scored(used, known, Caught(found.defects), "cross-fitted", kept, shift, bank)

    def _unseen(self, pool: Pool, units: NDArray[np.int64]) -> tuple[Tensor, dict[int, float]]:
        """A bank that has not seen some of the images, and those with their scores by it."""
        size, seed, space = len(self._model.model.memory_bank), self._facts.seed, self._model.model.feature_space
        bank, unseen = unseen_bank(
            pool, units, size, seed, device=self._engine.device, space=space, counted=self._model.counted_rows
        )
        scores = image_scores(self._scorer, pool, unseen, len(pool) // len(units), bank, space)[:, 0]
        return bank, {int(unseen[place]): score for place, score in _spread(scores).items()}

    def _parts(self, pool: Pool, items: Sequence[ImageItem], hashes: Sequence[NDArray[np.bool_]]) -> Parts:
        batches = [item.batch for item in items if item.batch]
        digests = [self._files.digest(item.path) for item in items]
        own = without_copies(pool, len(items), self._scorer.patches)
        parts = find_parts(own, self._scorer.grid, digests, batches, hashes)
        self._notify(str(parts))
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
        named = frozenset(_names([item for item in items if self._files.digest(item.path) in suspects]))
        return GoodScores(scores, maxima, _names(items), parts.part, batches, named)

    def _out_of_fold(
        self, pool: Pool, items: Sequence[ImageItem], units: NDArray[np.int64], embed: Embedder
    ) -> OutOfFold:
        per_image = _per_image(len(items))
        shown = set(evenly_spaced(len(items)))

        def defects(fold: NDArray[np.int64]) -> Iterator[Tensor | None]:
            some = [items[int(i)] for i in fold if int(i) in shown]
            return self._embedded(embed, some, per_image) if some else iter(())

        ratio, seed, device = self._model.coreset_sampling_ratio, self._facts.seed, self._engine.device
        parted = folds(units, seed)
        return out_of_fold_scores(
            self._scorer, pool, parted, ratio, seed, defects, device, self._model.pca, self._model.counted_rows
        )

    def _synthetic(self, items: Sequence[ImageItem]) -> _Floats:
        """Scores of synthetic defects on some good images, by the run's own bank."""
        rows = self._embedded(self._embedder(len(items)), evenly_chosen(items), _per_image(len(items)))
        model = self._model.model
        return np.array(scores_of_all(self._scorer, rows, model.memory_bank, model.feature_space), np.float32)

    def _embedder(self, count: int) -> Embedder:
        """Of the synthetic defects on so many good images."""
        return Embedder(self._model, _per_image(count) * len(evenly_spaced(count)))

    def _embedded(self, embed: Embedder, items: Sequence[ImageItem], per_image: int) -> Iterator[Tensor | None]:
        """``[P, D]`` features of the defects on some images, None for those that another process embeds."""
        images, job = [self._files.pixels(item.path) for item in items], ranks()
        made = make_defects(images, per_image, _DEFECT_SEED, hidden=self._model.hidden)
        for number, defect in enumerate(made):
            own = number % job.size == job.rank
            yield embed(torch.from_numpy(defect.image)[None].to(self._engine.device)) if own else None

    def _defective(self, items: Sequence[ImageItem]) -> _Floats:
        if not items:
            return np.empty(0, np.float32)
        dataset = self._files.dataset(items)
        return shared_scores(self._engine, self._model, dataset, "defects").scores


def _opened(store: FeatureStore | ShardedStore, items: Sequence[ImageItem]) -> tuple[Pool, list[ImageItem]]:
    return store.pool(), [items[place] for place in store.images]


def _in_order(items: Sequence[ImageItem]) -> list[ImageItem]:
    return [items[i] for i in file_order([item.path for item in items])]


def _per_image(count: int) -> int:
    return min(max(_DEFECTS // max(count, 1), 1), _PER_IMAGE)


def _shift(items: Sequence[ImageItem], scores: _Floats) -> Shift | None:
    return find_shift(scores, _names(items))


def _spread(scores: _Floats) -> dict[int, float]:
    """Images to keep with their scores: least to most anomalous, both ends included."""
    order = np.argsort(scores, kind="stable")
    return {int(order[place]): float(scores[order[place]]) for place in evenly_spaced(len(order))}


def _names(items: Sequence[ImageItem]) -> tuple[str, ...]:
    return tuple(path_text(item.path.name) for item in items)
