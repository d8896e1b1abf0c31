"""Coarse-to-fine search: estimates for all patches, better ones for some, exact distances for the most anomalous.

A patch x and a bank vector y, both centred on the bank's mean, are written as z, their part in the plane of the
bank's first principal components, and r, the residual's norm. Between near neighbours the residuals point
partly the same way, with correlation ρ, so

    ‖x − y‖² ≈ ‖z_x − z_y‖² + ρ(r_x − r_y)² + (1 − ρ)(r_x² + r_y²).

The first two terms are one squared distance in a space with √ρ·r as one more dimension; the last two are added to
either side. In that space a random rotation makes all dimensions alike, so that one 8-bit scale serves them all:
what is rounded is the points, not the distances between them, and the rounded points are compared exactly.

The bank's points are grouped, and all patches are compared with the middles of the groups first: an eighth of the
work. Those that look most anomalous, the shortlist, are compared with all points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .search import ExactSearch, Found, pick

__all__ = ["FastPlan", "FastSearch"]

_CHUNK = 1024
"""Bank vectors per product: a chunk's distances stay in the cache until their minimum is taken (2.4x at d=32)."""
_BANK_LEVELS = 63
"""7 bits: CPUs without VNNI add pairs of u8·s8 products in 16 bits, which 8 bits would overflow."""
_PATCH_LEVELS = 127
GROUP_SIZE = 8
"""Bank vectors per group, on average."""
_GROUPING_ROUNDS = 6


@dataclass(frozen=True)
class FastPlan:
    """What data decides.

    Attributes:
        dimensions: of the coarse space, the residual's included; at least 2.
        patches: how many patches of an image get exact distances.
        correlation: ρ, of the residuals of near neighbours, in [0, 1].
        reach: largest coordinate that a patch may have in the coarse space; larger ones are cut.
        shortlist: how many patches of an image are compared with all points of the bank, the others with the middles
            of its groups alone; all of them, and no groups, when 0.
    """

    dimensions: int
    patches: int
    correlation: float
    reach: float
    shortlist: int = 0


class FastSearch(nn.Module):
    """Coarse-to-fine search.

    An estimate never beats an exact value: image scores come from exact distances alone, and in the map
    estimates end at the image's largest exact distance.

    Args:
        memory_bank: ``[M, D]`` float32.
        plan: the coarse space and the number of patches that are refined.
    """

    projection: Tensor
    direction: Tensor

    def __init__(self, memory_bank: Tensor, plan: FastPlan) -> None:
        super().__init__()
        self.exact = ExactSearch(memory_bank)
        self.plan = plan
        bank = memory_bank - self.center
        axes, rotation = _principal_axes(bank, plan.dimensions - 1), _rotation(plan.dimensions)
        self.register_buffer("projection", axes @ rotation[:-1])
        self.register_buffer("direction", plan.correlation**0.5 * rotation[-1])
        self.patch_step = plan.reach / _PATCH_LEVELS
        self.residual_mean = 0.0
        residual = self.residual(bank, self.flat(bank))
        self.residual_mean = float(residual.mean())
        points = self._points(self.flat(bank), residual)
        self.bank_step = max(float(points.abs().max()), 1e-12) / _BANK_LEVELS
        points = _rounded(points, self.bank_step)
        self._chunks = {"points": self._keep("points", points, residual.square())}
        if plan.shortlist:
            groups = _groups(points, max(1, len(points) // GROUP_SIZE))
            middles = _rounded(_means(points, groups), self.bank_step)
            self._chunks["middles"] = self._keep("middles", middles, _means(residual.square()[:, None], groups)[:, 0])

    def _keep(self, name: str, points: Tensor, squares: Tensor) -> int:
        """Store points and what their squared residuals add to distances, in chunks; returns how many."""
        offsets = (points * points).sum(1) + (1 - self.plan.correlation) * squares
        chunks = list(zip(torch.split(points, _CHUNK), torch.split(offsets, _CHUNK), strict=True))
        for index, (rows, offset) in enumerate(chunks):
            self.register_buffer(f"{name}_{index}", rows.clone())
            self.register_buffer(f"bias_of_{name}_{index}", -0.5 * offset)
        return len(chunks)

    @property
    def center(self) -> Tensor:
        """``[D]`` the bank's mean."""
        return self.exact.center

    def forward(self, patches: Tensor) -> Found:
        """``[N, P, D]`` embeddings, centred → distances, exact where it matters."""
        estimates = self.estimate(patches)
        places = estimates.topk(min(self.plan.patches, patches.shape[1]), dim=1, sorted=False).indices
        refined: Found = self.exact(pick(patches, places))
        distances = torch.minimum(estimates, refined.worst.unsqueeze(1)).scatter(1, places, refined.distances)
        return refined._replace(distances=distances)

    def estimate(self, patches: Tensor) -> Tensor:
        """``[N, P, D]`` embeddings, centred → ``[N, P]`` estimated distances."""
        flat = self.flat(patches)
        residual = self.residual(patches, flat)
        points, squares = self._points(flat, residual), residual.square()
        count = self.plan.shortlist
        if not count or count >= patches.shape[1]:
            return self._distances(points, squares, "points")
        rough = self._distances(points, squares, "middles")
        places = rough.topk(count, dim=1, sorted=False).indices
        return rough.scatter(1, places, self._distances(pick(points, places), squares.gather(1, places), "points"))

    def rough_estimate(self, patches: Tensor) -> Tensor:
        """``[N, P, D]`` embeddings, centred → ``[N, P]`` estimates of the kind that the shortlist is made by."""
        flat = self.flat(patches)
        residual = self.residual(patches, flat)
        return self._distances(self._points(flat, residual), residual.square(), "middles")

    def _distances(self, points: Tensor, squares: Tensor, name: str) -> Tensor:
        """``[N, P, d]`` and squared residuals ``[N, P]`` → ``[N, P]`` distances to the nearest of what was kept."""
        points = _rounded(points, self.patch_step)
        # −2xy + ‖y‖² is smallest where xy − ‖y‖²/2 is largest.
        parts = [self._largest(points, f"{name}_{i}", f"bias_of_{name}_{i}") for i in range(self._chunks[name])]
        own = (points * points).sum(2) + (1 - self.plan.correlation) * squares
        return (own - 2 * torch.cat(parts, 2).amax(2)).clamp_min(0).sqrt()

    def flat(self, patches: Tensor) -> Tensor:
        """``[..., D]`` embeddings, centred → ``[..., d]``: their part in the plane, rotated; lengths are kept."""
        return patches @ self.projection

    def coordinates(self, patches: Tensor) -> Tensor:
        """``[..., D]`` embeddings, centred → ``[..., d]`` points of the coarse space before they are rounded."""
        flat = self.flat(patches)
        return self._points(flat, self.residual(patches, flat))

    def vectors(self, indices: Tensor) -> Tensor:
        """Bank vectors, centred, by index."""
        return self.exact.vectors(indices)

    def _largest(self, points: Tensor, name: str, bias: str) -> Tensor:
        rows = _rounded(self.get_buffer(name), self.bank_step)
        return linear(points, rows, self.get_buffer(bias)).amax(2, keepdim=True)

    @staticmethod
    def residual(full: Tensor, flat: Tensor) -> Tensor:
        """Norm of what the plane leaves out of ``[..., D]``; ``flat`` is the part inside, ``[..., d]``."""
        return ((full * full).sum(-1) - (flat * flat).sum(-1)).clamp_min(0).sqrt()

    def _points(self, flat: Tensor, residual: Tensor) -> Tensor:
        # Differences of residuals matter only, so their mean is taken off and spares the 8 bits.
        return flat + (residual - self.residual_mean).unsqueeze(-1) * self.direction


def _rounded(points: Tensor, step: float) -> Tensor:
    """To a grid of 8 bits; runtimes read this as leave to multiply integers."""
    return torch.fake_quantize_per_tensor_affine(points, step, 0, -128, 127)


def _principal_axes(bank: Tensor, count: int) -> Tensor:
    """``[D, count]`` orthonormal directions in which the centred ``[M, D]`` bank varies most."""
    covariance = bank.double().T @ bank.double()
    axes: Tensor = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :count]
    return axes.to(bank.dtype)


def _groups(points: Tensor, count: int) -> Tensor:
    """``[M]`` group of each point, by a few rounds of Lloyd's algorithm from every M/count-th point."""
    middles = points[torch.linspace(0, len(points) - 1, count).round().long()]
    groups = torch.zeros(len(points), dtype=torch.int64)
    for _ in range(_GROUPING_ROUNDS):
        # Summed in a fixed order: the same bank gives the same bytes.
        groups = torch.addmm((middles * middles).sum(1), points, -2 * middles.T).argmin(1)
        groups = torch.unique(groups, return_inverse=True)[1]
        middles = _means(points, groups)
    return groups


def _means(rows: Tensor, groups: Tensor) -> Tensor:
    """``[G, k]`` means of ``[M, k]`` rows over their groups, none of which is empty."""
    sums = torch.zeros(int(groups.max()) + 1, rows.shape[1]).index_add_(0, groups, rows)
    return sums / torch.bincount(groups)[:, None]


def _rotation(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return torch.as_tensor(torch.linalg.qr(random).Q).float()
