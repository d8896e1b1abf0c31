"""How coarse the fast search may be: found on held-out good images and on synthetic defects made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

import torch
from torch import Tensor

from patchcore_edge.data.synthetic_defects import make_defects
from patchcore_edge.models import Patchcore
from patchcore_edge.models.score_rule import patches_counted
from patchcore_edge_runtime.bundle.recipe import ScoreRule
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.verdict import Thresholds

from ..graph.coarse_space import CoarseSpace
from ..graph.fast_search import FastPlan, FastSearch, merged
from ..graph.upsampling import peak_smoothing
from ..samples import patch_cell, some_of
from .cost import search_cost

__all__ = ["Choice", "plan_search"]

_DIMENSIONS = (32, 64, 96, 128, 192, 256)
_SHORTLIST_SHARES = (16, 8, 4, 2)
"""One of so many patches of an image is compared with the whole bank, or else all are."""
_PATCHES = (16, 24, 32, 48, 64, 96, 128)
_CANDIDATES = (16, 32, 64, 128, 256)
_IMAGES = 32
_WITH_DEFECTS, _DEFECTS_EACH = 16, 3
_MARGIN = 4
"""New images need more patches refined than the worst of the sample did; so many times as many are
(``benchmarks/search.py``: with twice as many 3 of 288 good images were off by up to 2 %)."""
_SHORTLIST_MARGIN = 2
_CANDIDATES_MARGIN = 2
"""Of the largest rank among all refined patches of the sample, more than a thousand: it is rarely the worst patch's."""
_CLIP_MARGIN = 1.5
_MAP_MARGIN = 0.85
"""Share of the map's limit that the sample may use: of 128 new images the worst deviates by up to a quarter more."""
_OFFSET_SHARE = 0.75
"""With all of the offsets 4 of 128 new images had places taken below their exact distance by over the map's limit."""
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


@dataclass(frozen=True)
class _Sample:
    """n images: first good ones, then copies of them with a defect.

    Attributes:
        sources: of each image, which of the good ones it is or was.
        patches: ``[n, P, D]``, centred.
        distances, neighbors: ``[n, P]``: what exact search says of them.
        maps: ``[n, 1, H, W]``: the exact maps.
        floors: ``[n]``: what deviations of the maps count against.
        grid: rows and columns of the P patches.
    """

    sources: list[int]
    patches: Tensor
    distances: Tensor
    neighbors: Tensor
    maps: Tensor
    floors: Tensor
    grid: tuple[int, int]

    @property
    def good(self) -> int:
        """How many of the images are good."""
        return max(self.sources) + 1

    def deciding(self, rule: ScoreRule) -> Tensor:
        """``[n, j]`` places of the patches that an image's score comes from; of the map's maximum, the worst alone."""
        patches = self.distances.shape[1]
        count = 1 if rule is ScoreRule.MAP_MAX else patches_counted(rule, patches)
        return self.distances.topk(count, dim=1).indices


@dataclass(frozen=True)
class _Space:
    """What a coarse space says of the sample: ``[n, P]`` estimates by groups and by points."""

    plan: FastPlan
    search: FastSearch
    points: Tensor
    coarse: Tensor
    refined: Tensor


def plan_search(fitted: Patchcore, images: Sequence[Image], thresholds: Thresholds, map_limit: float) -> Choice:
    """Choose dimensions, shortlist, refined patches, candidates and offsets.

    Args:
        fitted: a model with a memory bank.
        images: good images that the bank has not seen, HxWx3 uint8 BGR of the model's size.
        thresholds: of the run; map deviations count against the pixel threshold.
        map_limit: largest deviation of a map, relative to the larger of its maximum and the pixel threshold.
    """
    bank = fitted.model.memory_bank
    with torch.inference_mode():
        sample = _sample(fitted, some_of(images, _IMAGES), thresholds)
        patches = sample.patches.shape[1]
        best: FastPlan | None = None
        for dimensions in _DIMENSIONS:
            if best is not None and dimensions > bank.shape[1]:
                break
            space = _space(fitted, sample, min(dimensions, bank.shape[1]))
            found = _cheapest(fitted, space, sample, map_limit)
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


def _sample(fitted: Patchcore, good: list[Image], thresholds: Thresholds) -> _Sample:
    model = fitted.model.eval()
    size = fitted.pre_processor.spec.input_size
    some = some_of(list(range(len(good))), _WITH_DEFECTS)
    each = max(_DEFECTS_EACH, ceil(_DEFECTS_EACH * _WITH_DEFECTS / len(some)))
    made = list(make_defects([good[place] for place in some], each, cell=patch_cell(fitted)))
    found = []
    for image in good + [defect.image for defect in made]:
        embedding = model.embed(fitted.pre_processor(torch.from_numpy(image)[None]))
        grid = (int(embedding.shape[2]), int(embedding.shape[3]))
        patches = model.project(model.reshape_embedding(embedding))
        distances, neighbors = (one.flatten() for one in model.nearest_neighbors(patches, 1))
        anomaly_map = fitted.model.anomaly_map_generator(distances.reshape(1, 1, *grid), size)[0]
        found.append((patches - model.memory_bank.mean(0), distances, neighbors, anomaly_map))
    patches, distances, neighbors, maps = (torch.stack(column) for column in zip(*found, strict=True))
    sources = [*range(len(good)), *(some[defect.source] for defect in made)]
    return _Sample(sources, patches, distances, neighbors, maps, maps.amax((1, 2, 3)).clamp_min(thresholds.pixel), grid)


def _space(fitted: Patchcore, sample: _Sample, dimensions: int) -> _Space:
    bank = fitted.model.memory_bank
    centred = bank - bank.mean(0)
    correlation = _correlation(CoarseSpace(centred, dimensions, 1.0), centred, sample)
    space = CoarseSpace(centred, dimensions, correlation)
    largest = max(float(space(patches).points.abs().max()) for patches in sample.patches)
    plan = FastPlan(dimensions, max(_PATCHES), correlation, _CLIP_MARGIN * largest)
    # With groups, and in pieces that suit all patches at once.
    smoothing = peak_smoothing(fitted.model, sample.grid, fitted.pre_processor.spec.input_size)
    search = FastSearch(bank, replace(plan, shortlist=sample.patches.shape[1]), smoothing)
    assert search.centroids is not None
    rows = [search.space(patches[None]) for patches in sample.patches]
    coarse = torch.cat([search.centroids.nearest(one) for one in rows])
    refined = torch.cat([search.points.nearest(one) for one in rows])
    return _Space(plan, search, torch.cat([one.points for one in rows]), coarse, refined)


def _correlation(space: CoarseSpace, bank: Tensor, sample: _Sample) -> float:
    """ρ between the residuals of good patches and of their nearest bank vectors."""
    products, lengths = 0.0, 0.0
    for x, neighbors in zip(sample.patches[: sample.good], sample.neighbors, strict=False):
        y = bank[neighbors]
        flat_x, flat_y = space.flat(x), space.flat(y)
        products += float(((x * y).sum(1) - (flat_x * flat_y).sum(1)).sum())
        lengths += float((space.residual(x, flat_x) * space.residual(y, flat_y)).sum())
    return min(max(products / max(lengths, 1e-12), 0.0), 1.0)


def _cheapest(fitted: Patchcore, space: _Space, sample: _Sample, map_limit: float) -> FastPlan | None:
    """The plan in this space with the shortest shortlist, and then the fewest patches, that holds."""
    patches, deciding = sample.patches.shape[1], sample.deciding(fitted.model.score)
    reached = _SHORTLIST_MARGIN * _largest_rank(space.coarse, deciding)
    for count in (*(patches // share for share in _SHORTLIST_SHARES), 0):
        if count == 0 or reached <= count:
            plan = replace(space.plan, shortlist=count, offsets=_offsets(space, sample))
            found = _refined(fitted, space, plan, sample, map_limit)
            if found is not None:
                return found
    return None


def _refined(fitted: Patchcore, space: _Space, plan: FastPlan, sample: _Sample, map_limit: float) -> FastPlan | None:
    """``plan`` with the fewest patches that keep every score exact and every map within the limit."""
    estimates, shown = _estimates(space, plan, sample)
    ranked, needed = space.search.ranked(estimates), _needed(fitted, space, sample, estimates, shown)
    for patches in _counts(needed, estimates.shape[1]):
        places = ranked.topk(patches, dim=1).indices
        maps = _maps(fitted, sample, shown, places)
        if float(((maps - sample.maps).abs().amax((1, 2, 3)) / sample.floors).max()) <= _MAP_MARGIN * map_limit:
            everywhere = replace(plan, patches=patches)
            few = replace(everywhere, candidates=_candidates(space, sample, places))
            bank = fitted.model.memory_bank
            return min(few, everywhere, key=lambda one: search_cost(bank, estimates.shape[1], one))
    return None


def _needed(fitted: Patchcore, space: _Space, sample: _Sample, estimates: Tensor, shown: Tensor) -> int:
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


def _maps(fitted: Patchcore, sample: _Sample, shown: Tensor, places: Tensor) -> Tensor:
    """``[n, 1, H, W]`` the maps with exact distances at some ``[n, T]`` places."""
    exact = sample.distances.gather(1, places)
    mixed = shown.minimum(exact.amax(1, keepdim=True)).scatter(1, places, exact)
    size = fitted.pre_processor.spec.input_size
    maps: Tensor = fitted.model.anomaly_map_generator(mixed.reshape(-1, 1, *sample.grid), size)
    return maps


def _estimates(space: _Space, plan: FastPlan, sample: _Sample) -> tuple[Tensor, Tensor]:
    """``[n, P]`` estimates as the graph makes them, and as it shows them in the map.

    Each image is judged with the offsets that the other images give, as a new one will be.
    """
    own = [_offsets(space, sample, without=source) for source in sample.sources]
    by_groups, by_points = torch.stack(own, 1)
    if not plan.shortlist:
        return space.refined, (space.refined + by_points).clamp_min(0)
    places = space.coarse.topk(plan.shortlist, dim=1).indices
    return merged(space.coarse, space.refined.gather(1, places), places, by_groups, by_points)


def _offsets(space: _Space, sample: _Sample, without: int | None = None) -> Tensor:
    """``[2, P]`` what the estimates by groups and by points lack at each place of good images.

    Most of the way to the middle between the least and the most: the map's limit is about the largest deviation, and
    few images show neither end. At an image's border padding makes patches alike, in their residuals too, and the
    estimates too large.
    """
    used = [image for image in range(sample.good) if image != without]
    if not used:
        return torch.zeros(2, sample.patches.shape[1])
    lacking = [(sample.distances - estimates)[used] for estimates in (space.coarse, space.refined)]
    return torch.stack([_OFFSET_SHARE * (one.amin(0) + one.amax(0)) / 2 for one in lacking])


def _candidates(space: _Space, sample: _Sample, places: Tensor) -> int:
    """How many candidates surely hold the nearest bank vector of each refined patch; 0 where no number is sure to."""
    largest = 0
    for points, neighbors, chosen in zip(space.points, sample.neighbors, places, strict=True):
        similarity = space.search.points.similarity(points[chosen][None])[0]
        nearest = similarity.gather(1, neighbors[chosen][:, None])
        largest = max(largest, int((similarity >= nearest).sum(1).max()))
    return next((count for count in _CANDIDATES if count >= _CANDIDATES_MARGIN * largest), 0)


def _counts(needed: int, patches: int) -> Iterator[int]:
    return (min(count, patches) for count in _PATCHES if count >= needed)


def _largest_rank(estimates: Tensor, places: Tensor) -> int:
    """Of ``[n, P]`` estimates, the largest rank, from 1, of those at ``[n, j]`` places."""
    return int((estimates >= estimates.gather(1, places).amin(1, keepdim=True)).sum(1).max())
