"""Coreset subsampling by exact greedy k-center (Roth et al. 2022, algorithm 1), at matrix-multiply speed.

Plain greedy reads the whole pool once per pick. Minimum distances only ever shrink, so the K farthest points and
the (K+1)-th value as a bound allow many picks before the pool has to be read again: as long as the best of the K
still reaches the bound, no point outside them can be farther. Each round ends with one pass over the pool for all
its picks at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from patchcore_edge_runtime.errors import ConfigError

__all__ = ["KCenterGreedy", "coreset_size"]

_CANDIDATES = 1024
_BLOCK_ELEMENTS = 1 << 24
"""Floats of one block of distances: 64 MiB."""


def coreset_size(pool_size: int, sampling_ratio: float) -> int:
    """Number of points that a ratio in (0, 1] keeps of ``pool_size``, at least one."""
    if not 0 < sampling_ratio <= 1:
        raise ConfigError(f"The coreset sampling ratio is {sampling_ratio}; give a number in (0, 1].")
    return max(1, int(pool_size * sampling_ratio))


class KCenterGreedy:
    """Greedy k-center selection: each pick is the point farthest from all picks before it.

    Args:
        embedding: ``[n, d]`` float pool.
        sampling_ratio: fraction of the pool to keep, in (0, 1].
        seed: decides the first pick; the rest follows from it.
    """

    def __init__(self, embedding: Tensor, sampling_ratio: float, seed: int = 0) -> None:
        self.embedding = embedding
        self.coreset_size = coreset_size(len(embedding), sampling_ratio)
        self.seed = seed
        self.rounds = 0

    def sample_coreset(self) -> Tensor:
        """The selected rows, ``[coreset_size, d]``, in the order they were picked."""
        return self.embedding[torch.tensor(self.select_coreset_idxs(), device=self.embedding.device)]

    @torch.inference_mode()
    def select_coreset_idxs(self) -> list[int]:
        """Indices of the selected rows in the order they were picked, all different."""
        count = len(self.embedding)
        # ‖x‖²−2xy+‖y‖² loses digits to a common offset; distances do not change when it is taken off.
        pool = self.embedding.float()
        pool = pool - pool.mean(0)
        norms = (pool * pool).sum(1)
        generator = torch.Generator().manual_seed(self.seed)
        picks = [int(torch.randint(count, (1,), generator=generator))]
        nearest = torch.full_like(norms, torch.inf)
        self._update(nearest, pool, norms, picks)
        self.rounds = 0
        while len(picks) < self.coreset_size:
            new = self._round(nearest, pool, self.coreset_size - len(picks))
            self._update(nearest, pool, norms, new)
            picks += new
            self.rounds += 1
        return picks

    @staticmethod
    def _round(nearest: Tensor, pool: Tensor, wanted: int) -> list[int]:
        """As many picks as can be made exactly from the farthest points alone; at least one."""
        values, indices = nearest.topk(min(_CANDIDATES + 1, len(nearest)))
        bound = float(values[-1]) if len(values) > _CANDIDATES else -torch.inf
        candidates = pool[indices[:_CANDIDATES]]
        farness = values[:_CANDIDATES].cpu()
        between = _squared_distances(candidates, candidates).cpu()
        picked: list[int] = []
        while len(picked) < wanted:
            best = int(farness.argmax())
            if farness[best] < 0 or (picked and farness[best] < bound):
                break
            picked.append(best)
            torch.minimum(farness, between[best], out=farness)
            farness[best] = -1.0  # never again, not even among duplicates at distance zero
        return indices.cpu()[picked].tolist()

    @staticmethod
    def _update(nearest: Tensor, pool: Tensor, norms: Tensor, picks: list[int]) -> None:
        """Lower every point's squared distance to its nearest pick, in blocks that bound the memory."""
        centers = pool[torch.tensor(picks, device=pool.device)]
        weights, bias = -2 * centers.T, (centers * centers).sum(1)
        step = max(1, _BLOCK_ELEMENTS // len(picks))
        for start in range(0, len(pool), step):
            block = slice(start, start + step)
            distances = torch.addmm(bias, pool[block], weights).amin(1) + norms[block]
            nearest[block] = torch.minimum(nearest[block], distances.clamp_(min=0))
        nearest[picks] = -1.0


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    return torch.addmm((y * y).sum(1), x, -2 * y.T).add_((x * x).sum(1, keepdim=True)).clamp_(min=0)
