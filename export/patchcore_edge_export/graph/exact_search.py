"""Nearest-neighbour search as graph nodes: what OpenVINO runs fast and rounds well (DESIGN section 3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

__all__ = ["ExactSearch", "SearchResult", "pick"]


class SearchResult(NamedTuple):
    """What a search gives for N images of P patches.

    Attributes:
        distances: ``[N, P]`` distance of each patch to the bank.
        worst: ``[N]`` largest distance of each image, always exact.
        patch: ``[N, D]`` the patch it belongs to, centred.
        neighbor: ``[N]`` bank index of that patch's nearest vector.
    """

    distances: Tensor
    worst: Tensor
    patch: Tensor
    neighbor: Tensor


class ExactSearch(nn.Module):
    """Distance of every patch to the bank, in one fully connected layer and a minimum.

    ‖x − y‖² = ‖x‖² + (‖y‖² − 2xy): the bracket is a linear layer of x. The root is taken of one value per patch,
    not of the whole patches-by-bank matrix. Both sides are centred on the bank's mean, which changes no distance
    and keeps the digits that the sum would lose.

    Args:
        memory_bank: ``[M, D]`` float32.
    """

    center: Tensor

    def __init__(self, memory_bank: Tensor) -> None:
        super().__init__()
        center = memory_bank.mean(0)
        bank = memory_bank - center
        self.register_buffer("center", center)
        self.linear = nn.Linear(bank.shape[1], len(bank), device="meta")
        self.linear.weight = nn.Parameter(-2 * bank, requires_grad=False)
        self.linear.bias = nn.Parameter((bank * bank).sum(1), requires_grad=False)

    def forward(self, patches: Tensor) -> SearchResult:
        """``[N, P, D]`` embeddings, centred → exact distances of all of them."""
        products = self.linear(patches)
        distances = (products.amin(2) + (patches * patches).sum(2)).clamp_min(0).sqrt()
        place = distances.argmax(1)
        # An index is wanted of one patch per image; over all of them it would cost more than the search itself.
        return SearchResult(distances, distances.amax(1), pick(patches, place), pick(products, place).argmin(1))

    def vectors(self, indices: Tensor) -> Tensor:
        """Bank vectors, centred, by index; read from the layer's weights so that the graph holds the bank once."""
        return embedding(indices, self.linear.weight) * -0.5


def pick(rows: Tensor, places: Tensor) -> Tensor:
    """Rows of each image: ``[N, P, D]`` at ``[N]`` or ``[N, T]`` → ``[N, D]`` or ``[N, T, D]``.

    One Gather over whole rows: torch's ``gather`` would carry an index for every element, and indexing with brackets
    becomes a GatherND, which OpenVINO runs several times slower.
    """
    batch, patches = rows.shape[:2]
    offset = torch.arange(batch).reshape(-1, *[1] * (places.dim() - 1)) * patches
    return embedding(places + offset, rows.reshape(batch * patches, rows.shape[2]))
