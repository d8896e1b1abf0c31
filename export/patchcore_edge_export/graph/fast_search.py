"""Coarse-to-fine search: estimates for all patches, better ones for some, exact distances for the most anomalous.

1. All patches are compared with the centroids of the bank's groups in the coarse space: an eighth of the work.
2. Those that look most anomalous, the shortlist, are compared there with all points of the bank.
3. The most anomalous of these get exact distances, to the bank vectors that are nearest in the coarse space.

Around the places where nothing is anomalous the map keeps the estimates, less what they are usually off there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .coarse_space import CoarseRows, CoarseSpace, PointSet, bank_step, group_means, grouped, rounded
from .exact_search import ExactSearch, SearchResult, pick

__all__ = ["GROUP_SIZE", "FastPlan", "FastSearch", "merged"]

GROUP_SIZE = 8
"""Bank vectors per group, on average."""


@dataclass(frozen=True)
class FastPlan:
    """What data decides.

    Attributes:
        dimensions: of the coarse space, the residual's included; at least 2.
        patches: how many patches of an image get exact distances.
        correlation: ρ, of the residuals of near neighbours, in [0, 1].
        clip_limit: largest coordinate that a patch may have in the coarse space; larger ones are cut.
        shortlist: how many patches of an image are compared with all points of the bank, the others with the centroids
            of its groups alone; all of them, and no groups, when 0.
        candidates: to how many bank vectors the exact distances of a patch are taken; to all of them when 0.
        offsets: ``[2, P]`` float32: what is added to estimates of each of an image's P places in the map, to those by
            groups first, then to those by points; nothing when None.
    """

    dimensions: int
    patches: int
    correlation: float
    clip_limit: float
    shortlist: int = 0
    candidates: int = 0
    offsets: Tensor | None = field(default=None, compare=False, repr=False)


class FastSearch(nn.Module):
    """Coarse-to-fine search.

    An estimate never beats an exact value: image scores come from exact distances alone, and in the map
    estimates end at the image's largest exact distance.

    Args:
        memory_bank: ``[M, D]`` float32.
        plan: the coarse space and the number of patches that are refined.
        smoothing: where the map's maximum is the score; see ``peak_smoothing``.
        counted: ``[P]`` bool, the patches that have a score; all when None.
    """

    group_offsets: Tensor
    point_offsets: Tensor
    smoothing_rows: Tensor
    smoothing_columns: Tensor
    counted: Tensor

    def __init__(
        self,
        memory_bank: Tensor,
        plan: FastPlan,
        smoothing: tuple[Tensor, Tensor] | None = None,
        counted: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.some_count = counted is not None and not bool(counted.all())
        self.most = int(counted.sum()) if counted is not None else 1 << 30
        if counted is not None and self.some_count:
            self.register_buffer("counted", counted.float()[None])
        self.smooths = smoothing is not None
        if smoothing is not None:
            self.register_buffer("smoothing_rows", smoothing[0])
            self.register_buffer("smoothing_columns", smoothing[1])
        self.exact = ExactSearch(memory_bank)
        bank = memory_bank - self.center
        self.space = CoarseSpace(bank, plan.dimensions, plan.correlation)
        points, squares = self.space(bank)
        step = bank_step(points)
        points = rounded(points, step)
        self.points = PointSet(points, squares, plan.correlation, step, plan.clip_limit, plan.shortlist or None)
        self.centroids: PointSet | None = None
        if plan.shortlist:
            groups = grouped(points, max(1, len(points) // GROUP_SIZE))
            centroids = rounded(group_means(points, groups), step)
            squares = group_means(squares[:, None], groups)[:, 0]
            self.centroids = PointSet(centroids, squares, plan.correlation, step, plan.clip_limit)
        offsets = torch.zeros(2, 1) if plan.offsets is None else plan.offsets
        self.register_buffer("group_offsets", offsets[:1].clone())
        self.register_buffer("point_offsets", offsets[1:].clone())

    @property
    def center(self) -> Tensor:
        """``[D]`` the bank's mean."""
        return self.exact.center

    def forward(self, patches: Tensor) -> SearchResult:
        """``[N, P, D]`` embeddings, centred → distances, exact where it matters."""
        rows = self.space(patches)
        estimates, background = self.estimate(rows)
        count = min(self.plan.patches, patches.shape[1], self.most)
        places = self.ranked(estimates).topk(count, dim=1, sorted=False).indices
        refined = self.refine(pick(patches, places), pick(rows.points, places))
        distances = torch.minimum(background, refined.worst.reshape(-1, 1)).scatter(1, places, refined.distances)
        if self.some_count:
            distances = distances * self.counted
        return refined._replace(distances=distances)

    def ranked(self, estimates: Tensor) -> Tensor:
        """``[N, P]`` what places are refined by: what they have themselves, or what the smooth map has there."""
        if not self.smooths:
            return self._behind(estimates)
        height, width = len(self.smoothing_rows), len(self.smoothing_columns)
        grid = estimates.reshape(-1, height, width)
        return self._behind((self.smoothing_rows @ grid @ self.smoothing_columns).reshape(-1, height * width))

    def _behind(self, ranks: Tensor) -> Tensor:
        """The same with places that do not count behind all others."""
        return ranks * self.counted + (self.counted - 1) if self.some_count else ranks

    def _nearest(self, points: PointSet, rows: CoarseRows) -> Tensor:
        """``[N, P]`` estimates of all patches of an image, 0 where nothing counts."""
        found: Tensor = points.nearest(rows)
        return found * self.counted if self.some_count else found

    def estimate(self, rows: CoarseRows) -> tuple[Tensor, Tensor]:
        """``[N, P]`` rows → ``[N, P]`` estimated distances, as places are chosen by and as the map shows them."""
        count = self.plan.shortlist
        if self.centroids is None or count >= rows.points.shape[1]:
            estimates = self._nearest(self.points, rows)
            return estimates, (estimates + self.point_offsets).clamp_min(0)
        coarse = self._nearest(self.centroids, rows)
        places = coarse.topk(count, dim=1, sorted=False).indices
        refined = self.points.nearest(CoarseRows(pick(rows.points, places), rows.squares.gather(1, places)))
        return merged(coarse, refined, places, self.group_offsets, self.point_offsets.expand_as(coarse))

    def refine(self, patches: Tensor, points: Tensor) -> SearchResult:
        """``[N, T, D]`` patches and their ``[N, T, d]`` points → exact distances, if the nearest is a candidate."""
        count = self.plan.candidates
        if not count or count >= len(self.points):
            everywhere: SearchResult = self.exact(patches)
            return everywhere
        likely = self.points.similarity(points).topk(count, dim=2, sorted=False).indices
        squares = (patches.unsqueeze(2) - self.vectors(likely)).square().sum(3)
        distances = squares.amin(2).sqrt()
        worst = distances.argmax(1)
        nearest = pick(squares, worst).argmin(1)
        neighbor = pick(pick(likely, worst).unsqueeze(2), nearest).squeeze(1)
        return SearchResult(distances, distances, distances.amax(1), pick(patches, worst), neighbor)

    def vectors(self, indices: Tensor) -> Tensor:
        """Bank vectors, centred, by index."""
        return self.exact.vectors(indices)


def merged(
    coarse: Tensor, refined: Tensor, places: Tensor, by_groups: Tensor, by_points: Tensor
) -> tuple[Tensor, Tensor]:
    """Estimates of a shortlist among those of all patches, as places are chosen by and as the map shows them.

    Chosen by the estimates as they are: what is usual for a place must not hide a defect there.

    Args:
        coarse: ``[N, P]`` estimates by groups.
        refined: ``[N, S]`` estimates by points, of the patches at ``places``.
        places: ``[N, S]``.
        by_groups, by_points: offsets that broadcast to ``[N, P]``; those by points have that very shape.
    """
    shown = (coarse + by_groups).scatter(1, places, refined + by_points.gather(1, places))
    return coarse.scatter(1, places, refined), shown.clamp_min(0)
