"""The space in which distances are estimated, and sets of points in it that patches are compared with.

A patch x and a bank vector y, both centred on the bank's mean, are written as z, their part in the plane of the
bank's first principal components, and r, the residual's norm. Between near neighbours the residuals point
partly the same way, with correlation ρ, so

    ‖x − y‖² ≈ ‖z_x − z_y‖² + ρ(r_x − r_y)² + (1 − ρ)(r_x² + r_y²).

The first two terms are one squared distance in a space with √ρ·r as one more dimension; the last two are added to
either side. In that space a random rotation makes all dimensions alike, so that one 8-bit scale serves them all:
what is rounded is the points, not the distances between them, and the rounded points are compared exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

__all__ = ["CoarseRows", "CoarseSpace", "PointSet", "bank_step", "group_means", "grouped", "rounded"]

_CHUNK = 1024
"""Points per product of many patches: its distances stay in the cache until their minimum is taken (2.4x at d=32)."""
_DISTANCES = 1 << 20
"""Distances per product of few patches, for which a thousand points are not worth a product of their own."""
_BANK_LEVELS = 63
"""7 bits: CPUs without VNNI add pairs of u8·s8 products in 16 bits, which 8 bits would overflow."""
_PATCH_LEVELS = 127
_GROUPING_ROUNDS = 6
_BLOCK = 4096


class CoarseRows(NamedTuple):
    """Patches in the coarse space.

    Attributes:
        points: ``[..., d]``, not rounded yet.
        squares: ``[...]`` squared norms of the residuals.
    """

    points: Tensor
    squares: Tensor


class CoarseSpace(nn.Module):
    """The map from embeddings to points.

    Args:
        bank: ``[M, D]`` float32, centred.
        dimensions: d of the space, the residual's included; at least 2.
        correlation: ρ in [0, 1].
    """

    projection: Tensor
    direction: Tensor

    def __init__(self, bank: Tensor, dimensions: int, correlation: float) -> None:
        super().__init__()
        axes, rotation = _principal_axes(bank, dimensions - 1), _rotation(dimensions)
        self.register_buffer("projection", (axes @ rotation[:-1]).T.contiguous())
        self.register_buffer("direction", correlation**0.5 * rotation[-1])
        self.residual_mean = 0.0
        self.residual_mean = float(self.residual(bank, self.flat(bank)).mean())

    def forward(self, patches: Tensor) -> CoarseRows:
        """``[..., D]`` embeddings, centred → what is compared with a ``PointSet``."""
        flat = self.flat(patches)
        residual = self.residual(patches, flat)
        # Differences of residuals matter only, so their mean is taken off and spares the 8 bits.
        points = flat + (residual - self.residual_mean).unsqueeze(-1) * self.direction
        return CoarseRows(points, residual.square())

    def flat(self, patches: Tensor) -> Tensor:
        """``[..., D]`` embeddings, centred → ``[..., d]``: their part in the plane, rotated; lengths are kept."""
        return linear(patches, self.projection)

    @staticmethod
    def residual(full: Tensor, flat: Tensor) -> Tensor:
        """Norm of what the plane leaves out of ``[..., D]``; ``flat`` is the part inside, ``[..., d]``."""
        return ((full * full).sum(-1) - (flat * flat).sum(-1)).clamp_min(0).sqrt()


class PointSet(nn.Module):
    """Points that patches are compared with: all of the bank's, or the centroids of its groups.

    Args:
        points: ``[m, d]``, rounded to ``step``.
        squares: ``[m]`` squared residuals of what the points stand for.
        correlation: ρ.
        step: of the grid that the points are on.
        clip_limit: largest coordinate that a patch may have; larger ones are cut.
        patches: how many of an image are compared with them, where that is less than all.
    """

    def __init__(
        self,
        points: Tensor,
        squares: Tensor,
        correlation: float,
        step: float,
        clip_limit: float,
        patches: int | None = None,
    ) -> None:
        super().__init__()
        chunk = max(_CHUNK, _DISTANCES // patches) if patches else _CHUNK
        self._step, self._patch_step, self._own_share = step, clip_limit / _PATCH_LEVELS, 1 - correlation
        biases = -0.5 * ((points * points).sum(1) + self._own_share * squares)
        self.sizes: list[int] = []
        # Biases have the shape of a product, so that no converter makes other constants of them, without their names.
        for index, (rows, bias) in enumerate(zip(torch.split(points, chunk), torch.split(biases, chunk), strict=True)):
            self.register_buffer(f"points_{index}", rows.clone())
            self.register_buffer(f"bias_{index}", bias.reshape(1, 1, -1).clone())
            self.sizes.append(len(rows))

    def __len__(self) -> int:
        return sum(self.sizes)

    def nearest(self, rows: CoarseRows) -> Tensor:
        """``[N, P]`` rows → ``[N, P]`` estimated distances to the nearest of the points."""
        points = rounded(rows.points, self._patch_step)
        largest = torch.cat([chunk.amax(2, keepdim=True) for chunk in self._products(points)], 2).amax(2)
        own = (points * points).sum(2) + self._own_share * rows.squares
        return (own - 2 * largest).clamp_min(0).sqrt()

    def similarity(self, points: Tensor) -> Tensor:
        """``[N, T, d]`` points of patches → ``[N, T, m]``: the larger, the nearer."""
        return torch.cat(list(self._products(rounded(points, self._patch_step))), 2)

    def _products(self, points: Tensor) -> Iterator[Tensor]:
        """xy − ‖y‖²/2, which is largest where −2xy + ‖y‖² is smallest, chunk by chunk."""
        for index in range(len(self.sizes)):
            chunk = rounded(self.get_buffer(f"points_{index}"), self._step)
            yield linear(points, chunk) + self.get_buffer(f"bias_{index}")


def rounded(points: Tensor, step: float) -> Tensor:
    """To a grid of 8 bits; runtimes read this as leave to multiply integers."""
    return torch.fake_quantize_per_tensor_affine(points, step, 0, -128, 127)


def bank_step(points: Tensor) -> float:
    """Step of the grid that holds all of the bank's points."""
    return max(float(points.abs().max()), 1e-12) / _BANK_LEVELS


def grouped(points: Tensor, count: int) -> Tensor:
    """``[M]`` group of each point, by a few rounds of Lloyd's algorithm from every M/count-th point; none is empty."""
    centroids = points[torch.linspace(0, len(points) - 1, count).round().long()]
    groups = torch.zeros(len(points), dtype=torch.int64)
    for _ in range(_GROUPING_ROUNDS):
        # Summed in a fixed order: the same bank gives the same bytes.
        lengths = (centroids * centroids).sum(1)
        # In blocks: all distances of a large bank at once would not fit into memory.
        groups = torch.cat(
            [torch.addmm(lengths, part, -2 * centroids.T).argmin(1) for part in torch.split(points, _BLOCK)]
        )
        groups = torch.unique(groups, return_inverse=True)[1]
        centroids = group_means(points, groups)
    return groups


def group_means(rows: Tensor, groups: Tensor) -> Tensor:
    """``[G, k]`` means of ``[M, k]`` rows over their groups, none of which is empty."""
    sums = torch.zeros(int(groups.max()) + 1, rows.shape[1]).index_add_(0, groups, rows)
    return sums / torch.bincount(groups)[:, None]


def _principal_axes(bank: Tensor, count: int) -> Tensor:
    """``[D, count]`` orthonormal directions in which the centred ``[M, D]`` bank varies most."""
    covariance = bank.double().T @ bank.double()
    axes: Tensor = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :count]
    return axes.to(bank.dtype)


def _rotation(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return torch.as_tensor(torch.linalg.qr(random).Q).float()
