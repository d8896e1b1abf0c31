"""How coarse the fast search may be: found on held-out good images and on synthetic defects made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.preprocess import Image
from patchcore_edge_runtime.verdict import Thresholds

from .defects import synthetic_defects
from .fast import GROUP_SIZE, FastPlan, FastSearch

__all__ = ["Choice", "plan_search"]

_DIMENSIONS = (32, 64, 96, 128, 192, 256)
_PATCHES = (16, 24, 32, 48, 64, 96, 128)
_SHORTLIST_SHARES = (4, 2)
"""A quarter or half of the patches of an image is compared with the whole bank, or else all are."""
_IMAGES = 32
_MARGIN = 4
"""New images need more patches refined than the worst of the sample did; so many times as many are
(``benchmarks/search.py``: with twice as many 3 of 288 good images were off by up to 2 %)."""
_SHORTLIST_MARGIN = 2
_REACH_MARGIN = 1.5
_FLOAT_COST = 5.0
"""Cost of a float product in integer ones, and of one more distance, in dimensions (both measured on a CPU)."""
_DISTANCE_COST = 72
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


@dataclass(frozen=True)
class _Sample:
    """An image's centred patches ``[P, D]``, with what exact search says of them."""

    patches: Tensor
    distances: Tensor
    neighbors: Tensor
    grid: tuple[int, int]


def plan_search(fitted: Patchcore, images: Sequence[Image], thresholds: Thresholds, map_limit: float) -> Choice:
    """Choose the dimensions and the number of refined patches.

    Args:
        fitted: a model with a memory bank.
        images: good images that the bank has not seen, HxWx3 uint8 BGR of the model's size.
        thresholds: of the run; map deviations count against the pixel threshold.
        map_limit: largest deviation of a map, relative to the larger of its maximum and the pixel threshold.
    """
    with torch.inference_mode():
        good = list(images[:: max(1, len(images) // _IMAGES)])[:_IMAGES]
        samples = [_sample(fitted, image) for image in good + synthetic_defects(good)]
        exact = _cost(fitted.model.memory_bank, len(samples[0].patches), None)
        best: FastPlan | None = None
        plan = _plan(fitted, samples, min(_DIMENSIONS), max(_PATCHES))
        for dimensions in _DIMENSIONS:
            if dimensions > fitted.model.memory_bank.shape[1]:
                break
            plan = _plan(fitted, samples, dimensions, max(_PATCHES))
            # The shortest shortlist is the cheapest at any number of dimensions.
            shortlists = (len(samples[0].patches) // share for share in _SHORTLIST_SHARES)
            tried = (*(replace(plan, shortlist=count) for count in shortlists), plan)
            found = next(filter(None, (_refine(fitted, p, samples, thresholds, map_limit) for p in tried)), None)
            costs = [_cost(fitted.model.memory_bank, len(samples[0].patches), p) for p in (found, best) if p]
            if found is not None and (best is None or costs[0] < costs[1]):
                best = found
            elif best is not None:
                break
    return _choice(fitted, best, plan, exact, len(samples), len(samples[0].patches))


def _choice(
    fitted: Patchcore, best: FastPlan | None, last: FastPlan, exact: float, images: int, patches: int
) -> Choice:
    if best is None:
        return Choice(last, False, True, f"no plan up to {last.dimensions} dimensions holds on {images} images")
    share = _cost(fitted.model.memory_bank, patches, best) / exact
    what = f"{best.dimensions} of {fitted.model.memory_bank.shape[1]} dimensions, {best.patches} patches exact"
    if best.shortlist:
        what = f"{what}, {best.shortlist} on the shortlist"
    if share > _GAIN:
        return Choice(best, True, False, f"the memory bank is too small for fast search to pay ({what})")
    return Choice(best, True, True, f"{what}: holds on {images} good and synthetic defective images")


def _sample(fitted: Patchcore, image: Image) -> _Sample:
    model = fitted.model.eval()
    embedding = model.embed(fitted.pre_processor(torch.from_numpy(image)[None]))
    patches = model.reshape_embedding(embedding)
    distances, neighbors = model.nearest_neighbors(patches, 1)
    grid = (int(embedding.shape[2]), int(embedding.shape[3]))
    return _Sample(patches - model.memory_bank.mean(0), distances.flatten(), neighbors.flatten(), grid)


def _plan(fitted: Patchcore, samples: Sequence[_Sample], dimensions: int, patches: int) -> FastPlan:
    bank = fitted.model.memory_bank
    search = FastSearch(bank, FastPlan(dimensions, patches, 1.0, 1.0))
    correlation = _correlation(search, bank - search.center, samples[: len(samples) // 2])
    search = FastSearch(bank, FastPlan(dimensions, patches, correlation, 1.0))
    reach = max(float(search.coordinates(sample.patches).abs().max()) for sample in samples)
    return FastPlan(dimensions, patches, correlation, _REACH_MARGIN * reach)


def _correlation(search: FastSearch, bank: Tensor, samples: Sequence[_Sample]) -> float:
    """ρ between the residuals of good patches and of their nearest bank vectors."""
    products, lengths = 0.0, 0.0
    for sample in samples:
        x, y = sample.patches, bank[sample.neighbors]
        flat_x, flat_y = search.flat(x), search.flat(y)
        products += float(((x * y).sum(1) - (flat_x * flat_y).sum(1)).sum())
        lengths += float((search.residual(x, flat_x) * search.residual(y, flat_y)).sum())
    return min(max(products / max(lengths, 1e-12), 0.0), 1.0)


def _refine(
    fitted: Patchcore, plan: FastPlan, samples: Sequence[_Sample], thresholds: Thresholds, map_limit: float
) -> FastPlan | None:
    """``plan`` with the fewest patches that keep every score exact and every map within the limit."""
    search = FastSearch(fitted.model.memory_bank, plan)
    if plan.shortlist:
        ranks = [_rank(search.rough_estimate(s.patches[None])[0], int(s.distances.argmax())) for s in samples]
        if _SHORTLIST_MARGIN * max(ranks) > plan.shortlist:
            return None
    estimates = [search.estimate(sample.patches[None])[0] for sample in samples]
    needed = _MARGIN * max(_rank(e, int(s.distances.argmax())) for e, s in zip(estimates, samples, strict=True))
    for patches in _counts(needed, len(samples[0].patches)):
        tried = replace(plan, patches=patches)
        deviations = (
            _map_deviation(fitted, sample, estimate, patches, thresholds)
            for sample, estimate in zip(samples, estimates, strict=True)
        )
        if all(deviation <= map_limit for deviation in deviations):
            return tried
    return None


def _counts(needed: int, patches: int) -> Iterator[int]:
    return (min(count, patches) for count in _PATCHES if count >= needed)


def _rank(estimates: Tensor, place: int) -> int:
    return int((estimates >= estimates[place]).sum())


def _map_deviation(
    fitted: Patchcore, sample: _Sample, estimates: Tensor, patches: int, thresholds: Thresholds
) -> float:
    places = estimates.topk(patches).indices
    mixed = estimates.clamp_max(float(sample.distances[places].max()))
    mixed[places] = sample.distances[places]
    size = fitted.pre_processor.spec.input_size
    both = torch.stack([mixed, sample.distances]).reshape(2, 1, *sample.grid)
    fast, exact = fitted.model.anomaly_map_generator(both, size)
    return float((fast - exact).abs().max()) / max(float(exact.max()), thresholds.pixel)


def _cost(bank: Tensor, patches: int, plan: FastPlan | None) -> float:
    """In integer products."""
    size, dimension = bank.shape
    if plan is None:
        return _FLOAT_COST * patches * size * dimension
    share = 1 / GROUP_SIZE + plan.shortlist / patches if plan.shortlist else 1.0
    coarse = share * patches * size * (plan.dimensions + _DISTANCE_COST)
    return coarse + _FLOAT_COST * plan.patches * size * dimension
