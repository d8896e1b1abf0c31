"""How coarse the fast search may be: found on held-out good images and on synthetic defects made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.bundle.recipe import ScoreRule
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.verdict import Thresholds

from ..graph.fast_search import FastPlan
from ..graph.peak_smoothing import peak_smoothing
from ..progress import Shown
from ..samples import some_of
from .cost import search_cost
from .sample import CoarseEstimates, PlanningSample, coarse_estimates, estimates_of, planning_sample, usual_offsets

__all__ = ["Choice", "plan_search"]

_DIMENSIONS = (32, 64, 96, 128, 192, 256)
_SHORTLIST_SHARES = (16, 8, 4, 2)
"""One of so many patches of an image is compared with the whole bank, or else all are."""
_PATCHES = (16, 24, 32, 48, 64, 96, 128)
_CANDIDATES = (16, 32, 64, 128, 256)
_IMAGES = 32
_MARGIN = 4
"""New images need more patches refined than the worst of the sample did; so many times as many are: with twice as many
3 of 288 good images were off by up to 2 %."""
_SHORTLIST_MARGIN = 2
_CANDIDATES_MARGIN = 2
"""Of the largest rank among all refined patches of the sample, more than a thousand: it is rarely the worst patch's."""
_MAP_MARGIN = 0.85
"""Share of the map's limit that the sample may use: of 128 new images the worst deviates by up to a quarter more."""
_PEAK_LIMIT = 2e-5
"""Of the map's maximum, where it is the score: a fifth of what float32 may deviate."""
_PEAK_MARGIN = 2
_GAIN = 0.8


@dataclass(frozen=True)
class Choice:
    """A plan for the fast search.

    Attributes:
        plan: the cheapest that holds on the sample; the most careful one when none does.
        holds: whether it found the worst patch of every image and kept the maps within the limit.
        pays: whether it costs clearly less than exact search.
        reason: one sentence.
    """

    plan: FastPlan
    holds: bool
    pays: bool
    reason: str


def plan_search(
    fitted: Patchcore, images: Sequence[Image], thresholds: Thresholds, map_limit: float, care: int = 1
) -> Choice:
    """Choose dimensions, shortlist, refined patches, candidates and offsets.

    Args:
        fitted: a model with a memory bank.
        images: good images that the bank has not seen, HxWx3 uint8 BGR of the model's size.
        thresholds: of the run; map deviations count against the pixel threshold.
        map_limit: largest deviation of a map, relative to the larger of its maximum and the pixel threshold.
        care: how many times the usual margins, for what decides scores.
    """
    bank = fitted.model.memory_bank
    with torch.inference_mode():
        sample = planning_sample(fitted, some_of(images, _IMAGES), thresholds)
        patches = sample.patches.shape[1]
        smoothing = peak_smoothing(fitted.model, sample.grid, fitted.pre_processor.spec.input_size)
        best: FastPlan | None = None
        for dimensions in Shown(_DIMENSIONS, "fast search: how coarse it may be", "plan"):
            if best is not None and dimensions > bank.shape[1]:
                break
            space = coarse_estimates(bank, sample, min(dimensions, bank.shape[1]), max(_PATCHES), smoothing)
            found = _cheapest(fitted, space, sample, map_limit, care)
            if found is not None and (
                best is None or search_cost(bank, patches, found) < search_cost(bank, patches, best)
            ):
                best = found
            elif best is not None or dimensions >= bank.shape[1]:
                break
    return _choice(bank, best, space.plan, len(sample.patches), patches)


def _choice(bank: Tensor, best: FastPlan | None, last: FastPlan, images: int, patches: int) -> Choice:
    if best is None:
        return Choice(last, False, True, f"no plan up to {last.dimensions} dimensions holds on {images} images")
    share = search_cost(bank, patches, best) / search_cost(bank, patches, None)
    what = f"{best.dimensions} of {bank.shape[1]} dimensions, {best.patches} patches exact"
    if best.shortlist:
        what = f"{what}, {best.shortlist} on the shortlist"
    if share > _GAIN:
        return Choice(best, True, False, f"the memory bank is too small for fast search to pay ({what})")
    return Choice(best, True, True, f"{what}: holds on {images} good and synthetic defective images")


def _cheapest(
    fitted: Patchcore, space: CoarseEstimates, sample: PlanningSample, map_limit: float, care: int
) -> FastPlan | None:
    """The plan in this space with the shortest shortlist, and then the fewest patches, that holds."""
    patches, deciding = sample.patches.shape[1], sample.deciding(fitted.model.score)
    reached = care * _SHORTLIST_MARGIN * _largest_rank(space.coarse, deciding)
    for count in (*(patches // share for share in _SHORTLIST_SHARES), 0):
        if count == 0 or reached <= count:
            plan = replace(space.plan, shortlist=count, offsets=usual_offsets(space, sample))
            found = _refined(fitted, space, plan, sample, map_limit, care)
            if found is not None:
                return found
    return None


def _refined(
    fitted: Patchcore, space: CoarseEstimates, plan: FastPlan, sample: PlanningSample, map_limit: float, care: int
) -> FastPlan | None:
    """``plan`` with the fewest patches that keep every score exact and every map within the limit."""
    estimates, shown = estimates_of(space, plan, sample)
    ranked, needed = space.search.ranked(estimates), _needed(fitted, space, sample, estimates, shown)
    for patches in _counts(care * needed, estimates.shape[1]):
        places = ranked.topk(min(patches, int(sample.counted.sum())), dim=1).indices
        maps = _maps(fitted, sample, shown, places)
        if float(((maps - sample.maps).abs().amax((1, 2, 3)) / sample.floors).max()) <= _MAP_MARGIN * map_limit:
            everywhere = replace(plan, patches=patches)
            few = replace(everywhere, candidates=_candidates(space, sample, places, care))
            bank = fitted.model.memory_bank
            return min(few, everywhere, key=lambda one: search_cost(bank, estimates.shape[1], one))
    return None


def _needed(fitted: Patchcore, space: CoarseEstimates, sample: PlanningSample, estimates: Tensor, shown: Tensor) -> int:
    """How many patches have to be refined for every score to be exact, with room for new images."""
    rule = fitted.model.score
    if rule is not ScoreRule.MAP_MAX:
        return _MARGIN * _largest_rank(estimates, sample.deciding(rule))
    # Around its maximum the map holds exact distances alone once more of them change the maximum no longer.
    highest = sample.maps.amax((1, 2, 3))
    for patches in _counts(1, estimates.shape[1]):
        maps = _maps(fitted, sample, shown, space.search.ranked(estimates).topk(patches, dim=1).indices)
        if float(((maps.amax((1, 2, 3)) - highest).abs() / sample.floors).max()) <= _PEAK_LIMIT:
            return _PEAK_MARGIN * patches
    return estimates.shape[1] + 1


def _maps(fitted: Patchcore, sample: PlanningSample, shown: Tensor, places: Tensor) -> Tensor:
    """``[n, 1, H, W]`` the maps with exact distances at some ``[n, T]`` places."""
    exact = sample.distances.gather(1, places)
    mixed = shown.minimum(exact.amax(1, keepdim=True)).scatter(1, places, exact)
    size = fitted.pre_processor.spec.input_size
    maps: Tensor = fitted.model.anomaly_map_generator(mixed.reshape(-1, 1, *sample.grid), size)
    return maps


def _candidates(space: CoarseEstimates, sample: PlanningSample, places: Tensor, care: int) -> int:
    """How many candidates surely hold the nearest bank vector of each refined patch; 0 where no number is sure to."""
    largest = 0
    for points, neighbors, chosen in zip(space.points, sample.neighbors, places, strict=True):
        similarity = space.search.points.similarity(points[chosen][None])[0]
        nearest = similarity.gather(1, neighbors[chosen][:, None])
        largest = max(largest, int((similarity >= nearest).sum(1).max()))
    return next((count for count in _CANDIDATES if count >= care * _CANDIDATES_MARGIN * largest), 0)


def _counts(needed: int, patches: int) -> Iterator[int]:
    return (min(count, patches) for count in _PATCHES if count >= needed)


def _largest_rank(estimates: Tensor, places: Tensor) -> int:
    """Of ``[n, P]`` estimates, the largest rank, from 1, of those at ``[n, j]`` places."""
    return int((estimates >= estimates.gather(1, places).amin(1, keepdim=True)).sum(1).max())
