"""What plans are judged on: good images and defects made of them, with exact distances and with coarse estimates."""

from __future__ import annotations

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
from ..samples import patch_cell, some_of

__all__ = ["CoarseEstimates", "PlanningSample", "coarse_estimates", "estimates_of", "planning_sample", "usual_offsets"]

_WITH_DEFECTS, _DEFECTS_EACH = 16, 3
_CLIP_MARGIN = 1.5
_OFFSET_SHARE = 0.75
"""With all of the offsets 4 of 128 new images had places taken below their exact distance by over the map's limit."""


@dataclass(frozen=True)
class PlanningSample:
    """n images: first good ones, then copies of them with a defect.

    Attributes:
        sources: of each image, which of the good ones it is or was.
        patches: ``[n, P, D]``, centred.
        distances, neighbors: ``[n, P]``: what exact search says of them.
        maps: ``[n, 1, H, W]``: the exact maps.
        floors: ``[n]``: what deviations of the maps count against.
        grid: rows and columns of the P patches.
        counted: ``[P]`` bool, the patches that have a score.
    """

    sources: list[int]
    patches: Tensor
    distances: Tensor
    neighbors: Tensor
    maps: Tensor
    floors: Tensor
    grid: tuple[int, int]
    counted: Tensor

    @property
    def good(self) -> int:
        """How many of the images are good."""
        return max(self.sources) + 1

    def deciding(self, rule: ScoreRule) -> Tensor:
        """``[n, j]`` places of the patches that an image's score comes from; of the map's maximum, the worst alone."""
        return self.distances.topk(patches_counted(rule, self.distances.shape[1]), dim=1).indices


@dataclass(frozen=True)
class CoarseEstimates:
    """What a coarse space says of the sample.

    Attributes:
        plan: of the space, without shortlist, candidates and offsets.
        search: in the space, with groups.
        points: ``[n, P, d]`` of the sample's patches.
        coarse, refined: ``[n, P]`` estimates by groups and by points.
    """

    plan: FastPlan
    search: FastSearch
    points: Tensor
    coarse: Tensor
    refined: Tensor


def planning_sample(fitted: Patchcore, good: list[Image], thresholds: Thresholds) -> PlanningSample:
    """Score good images that the bank has not seen, and defects made on some of them, exactly.

    Args:
        fitted: a model with a memory bank.
        good: HxWx3 uint8 BGR of the model's size.
        thresholds: of the run.
    """
    model = fitted.model.eval()
    size = fitted.pre_processor.spec.input_size
    some = some_of(list(range(len(good))), _WITH_DEFECTS)
    each = max(_DEFECTS_EACH, ceil(_DEFECTS_EACH * _WITH_DEFECTS / len(some)))
    made = list(make_defects([good[place] for place in some], each, cell=patch_cell(fitted), hidden=fitted.hidden))
    found = []
    for image in good + [defect.image for defect in made]:
        embedding = model.embed(fitted.pre_processor(torch.from_numpy(image)[None]))
        grid = (int(embedding.shape[2]), int(embedding.shape[3]))
        patches = model.project(model.reshape_embedding(embedding))
        distances, neighbors = (one.flatten() for one in model.nearest_neighbors(patches, 1))
        distances = model.counted(distances)
        anomaly_map = fitted.model.anomaly_map_generator(distances.reshape(1, 1, *grid), size)[0]
        found.append((patches - model.memory_bank.mean(0), distances, neighbors, anomaly_map))
    patches, distances, neighbors, maps = (torch.stack(column) for column in zip(*found, strict=True))
    sources = [*range(len(good)), *(some[defect.source] for defect in made)]
    floors = maps.amax((1, 2, 3)).clamp_min(thresholds.pixel)
    counted = ~model.ignored if len(model.ignored) else torch.ones(patches.shape[1], dtype=torch.bool)
    return PlanningSample(sources, patches, distances, neighbors, maps, floors, grid, counted)


def coarse_estimates(
    bank: Tensor,
    sample: PlanningSample,
    dimensions: int,
    most_patches: int,
    smoothing: tuple[Tensor, Tensor] | None = None,
) -> CoarseEstimates:
    """Estimate all distances of the sample in a coarse space, whose correlation and clip limit the sample decides.

    Args:
        bank: ``[M, D]`` float32.
        sample: what to estimate.
        dimensions: of the space, the residual's included.
        most_patches: how many patches the plan refines to begin with.
        smoothing: where the map's maximum is the score; see ``peak_smoothing``.
    """
    centred = bank - bank.mean(0)
    correlation = _correlation(CoarseSpace(centred, dimensions, 1.0), centred, sample)
    space = CoarseSpace(centred, dimensions, correlation)
    largest = max(float(space(patches[sample.counted]).points.abs().max()) for patches in sample.patches)
    plan = FastPlan(dimensions, most_patches, correlation, _CLIP_MARGIN * largest)
    # With groups, and in pieces that suit all patches at once.
    search = FastSearch(bank, replace(plan, shortlist=sample.patches.shape[1]), smoothing, sample.counted)
    assert search.centroids is not None
    rows = [search.space(patches[None]) for patches in sample.patches]
    coarse = torch.cat([search.centroids.nearest(one) for one in rows]) * sample.counted
    refined = torch.cat([search.points.nearest(one) for one in rows]) * sample.counted
    return CoarseEstimates(plan, search, torch.cat([one.points for one in rows]), coarse, refined)


def estimates_of(space: CoarseEstimates, plan: FastPlan, sample: PlanningSample) -> tuple[Tensor, Tensor]:
    """``[n, P]`` estimates as the graph makes them, and as it shows them in the map.

    Each image is judged with the offsets that the other images give, as a new one will be.
    """
    own = [usual_offsets(space, sample, without=source) for source in sample.sources]
    by_groups, by_points = torch.stack(own, 1)
    if not plan.shortlist:
        return space.refined, (space.refined + by_points).clamp_min(0)
    places = space.coarse.topk(plan.shortlist, dim=1).indices
    return merged(space.coarse, space.refined.gather(1, places), places, by_groups, by_points)


def usual_offsets(space: CoarseEstimates, sample: PlanningSample, without: int | None = None) -> Tensor:
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


def _correlation(space: CoarseSpace, bank: Tensor, sample: PlanningSample) -> float:
    """ρ between the residuals of good patches and of their nearest bank vectors."""
    products, lengths = 0.0, 0.0
    for patches, neighbors in zip(sample.patches[: sample.good], sample.neighbors, strict=False):
        x, y = patches[sample.counted], bank[neighbors[sample.counted]]
        flat_x, flat_y = space.flat(x), space.flat(y)
        products += float(((x * y).sum(1) - (flat_x * flat_y).sum(1)).sum())
        lengths += float((space.residual(x, flat_x) * space.residual(y, flat_y)).sum())
    return min(max(products / max(lengths, 1e-12), 0.0), 1.0)
