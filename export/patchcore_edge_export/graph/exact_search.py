"""Nearest-neighbour search as graph nodes: what OpenVINO runs fast and rounds well."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

__all__ = ["ExactSearch", "SearchResult", "pick"]


class SearchResult(NamedTuple):
    """What a search gives for N images of P patches.

    Attributes:
        distances: ``[N, P]`` distance of each patch to the bank.
        exact: ``[N, T]`` those of them that are exact, the largest among them; all of them where T is P.
        worst: ``[N]`` largest distance of each image, always exact.
        patch: ``[N, D]`` the patch it belongs to, centred.
        neighbor: ``[N]`` bank index of that patch's nearest vector.
    """

    distances: Tensor
    exact: Tensor
    worst: Tensor
    patch: Tensor
    neighbor: Tensor


class ExactSearch(nn.Module):
    """Distance of every patch to the bank, in one fully connected layer and a maximum.

    ‖x − y‖² = ‖x‖² − 2(xy − ‖y‖²/2): the bracket is a linear layer of x, largest for the nearest y, and its weights are
    the bank itself. The root is taken of one value per patch, not of the whole patches-by-bank matrix. Both sides are
    centred on the bank's mean, which changes no distance and keeps the digits that the sum would lose.

    Args:
        memory_bank: ``[M, D]`` float32.
        counted: ``[P]`` bool, the patches that have a score, of which all are then given at once; all when None.
    """

    center: Tensor
    bank: Tensor
    bank_bias: Tensor
    counted: Tensor

    def __init__(self, memory_bank: Tensor, counted: Tensor | None = None) -> None:
        super().__init__()
        self.some_count = counted is not None
        if counted is not None:
            self.register_buffer("counted", counted.float()[None])
        center = memory_bank.mean(0)
        bank = memory_bank - center
        self.register_buffer("center", center)
        self.register_buffer("bank", bank)
        self.register_buffer("bank_bias", -0.5 * (bank * bank).sum(1)[None, None])

    def forward(self, patches: Tensor) -> SearchResult:
        """``[N, P, D]`` embeddings, centred → exact distances of all of them."""
        # Nothing is larger. Next to each other, layer and bias become one operation on OpenVINO's CPU, and that one
        # has lost the mark that keeps the distances in float32; see ``convert.float_marks``. It costs no time.
        largest = torch.finfo(patches.dtype).max
        products = linear(patches, self.bank).clamp(-largest, largest) + self.bank_bias
        distances = ((patches * patches).sum(2) - 2 * products.amax(2)).clamp_min(0).sqrt()
        if self.some_count:
            distances = distances * self.counted
        place = distances.argmax(1)
        # An index is wanted of one patch per image; over all of them it would cost more than the search itself.
        return SearchResult(
            distances, distances, distances.amax(1), pick(patches, place), pick(products, place).argmax(1)
        )

    def vectors(self, indices: Tensor) -> Tensor:
        """Bank vectors, centred, by index; of the layer's own weights, so that the graph holds the bank once."""
        return embedding(indices, self.bank)


def pick(rows: Tensor, places: Tensor) -> Tensor:
    """Rows of each image: ``[N, P, D]`` at ``[N]`` or ``[N, T]`` → ``[N, D]`` or ``[N, T, D]``.

    One Gather over whole rows: torch's ``gather`` would carry an index for every element, and indexing with brackets
    becomes a GatherND, which OpenVINO runs several times slower.
    """
    batch, patches = rows.shape[:2]
    offset = torch.arange(batch).reshape(-1, *[1] * (places.dim() - 1)) * patches
    return embedding(places + offset, rows.reshape(batch * patches, rows.shape[2]))
