"""Nearest-neighbour search as graph nodes: what OpenVINO runs fast and rounds well (DESIGN section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ExactSearch"]


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
        self.linear = nn.Linear(bank.shape[1], len(bank))
        self.linear.weight = nn.Parameter(-2 * bank, requires_grad=False)
        self.linear.bias = nn.Parameter((bank * bank).sum(1), requires_grad=False)

    def forward(self, patches: Tensor) -> Tensor:
        """``[N, P, D]`` embeddings, centred → ``[N, P]`` distances."""
        nearest: Tensor = self.linear(patches).amin(2)
        return (nearest + (patches * patches).sum(2)).clamp_min(0).sqrt()

    def neighbor(self, patch: Tensor) -> Tensor:
        """``[N, D]`` one patch an image, centred → ``[N]`` index of its nearest bank vector.

        Only here is an index wanted; over all patches it would cost more than the search itself.
        """
        return torch.as_tensor(self.linear(patch).argmin(1))

    def vectors(self, indices: Tensor) -> Tensor:
        """Bank vectors, centred, by index; read from the layer's weights so that the graph holds the bank once."""
        return self.linear.weight[indices] * -0.5
