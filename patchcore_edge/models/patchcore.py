"""The PatchCore module that the engine drives: training steps fill a pool, ``fit`` makes it a memory bank."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import torch
from torch import Tensor, nn

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.preprocess import PreprocessSpec

from ..data.batch import Batch
from ..pre_processor import PreProcessor
from ..weights import load_weights
from .k_center_greedy import KCenterGreedy, Pool, pool_rows
from .torch_model import InferenceBatch, PatchcoreModel

__all__ = ["LearningType", "Patchcore"]


class LearningType(StrEnum):
    """What a model learns from."""

    ONE_CLASS = "one_class"


class Patchcore(nn.Module):
    """PatchCore with its preprocessing (Roth et al. 2022, https://arxiv.org/abs/2106.08265).

    Args:
        backbone: timm name.
        layers: names of the backbone's layers.
        pre_trained: load ImageNet weights.
        coreset_sampling_ratio: fraction of the patches that the memory bank keeps, in (0, 1].
        num_neighbors: neighbours that re-weight the image score.
        pre_processor: how frames become inputs; True for 256x256 without a crop.
        weights: file with the backbone's weights, in place of what ``pre_trained`` would find.
        seed: decides the coreset's first pick.

    Attributes:
        embeddings: ``[n, D]`` float32 per training step, until ``fit``.
        pool_size: patches that ``fit`` chose from.
        coreset_rows: which of them it chose, in the order of choice.
    """

    def __init__(
        self,
        backbone: str = "wide_resnet50_2",
        layers: Sequence[str] = ("layer2", "layer3"),
        pre_trained: bool = True,
        coreset_sampling_ratio: float = 0.1,
        num_neighbors: int = 9,
        pre_processor: PreProcessor | bool = True,
        *,
        weights: Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < coreset_sampling_ratio <= 1:
            raise ConfigError(f"The coreset sampling ratio is {coreset_sampling_ratio}; give a number in (0, 1].")
        if num_neighbors < 1:
            raise ConfigError(f"The number of neighbors is {num_neighbors}; give at least 1.")
        self.model = PatchcoreModel(layers, backbone, pre_trained and weights is None, num_neighbors)
        if weights is not None:
            load_weights(self.model.feature_extractor.network, weights)
        extractor = self.model.feature_extractor
        spec = pre_processor.spec if isinstance(pre_processor, PreProcessor) else self.configure_pre_processor().spec
        self.pre_processor = PreProcessor(spec, extractor.mean, extractor.std)
        self.coreset_sampling_ratio = coreset_sampling_ratio
        self.seed = seed
        self.embeddings: list[Tensor] = []
        self.pool_size = 0
        self.coreset_rows: list[int] = []

    @classmethod
    def configure_pre_processor(
        cls,
        image_size: tuple[int, int] | None = None,
        center_crop_size: tuple[int, int] | None = None,
    ) -> PreProcessor:
        """The preprocessing for a size (height, width), 256x256 by default, and an optional centre crop."""
        height, width = image_size or (256, 256)
        crop_height, crop_width = center_crop_size or (None, None)
        return PreProcessor(PreprocessSpec(height=height, width=width, crop_height=crop_height, crop_width=crop_width))

    @staticmethod
    def configure_optimizers() -> None:
        """PatchCore needs no optimization."""

    @property
    def learning_type(self) -> LearningType:
        """Always one-class: PatchCore learns from good images only."""
        return LearningType.ONE_CLASS

    def forward(self, frames: Tensor) -> InferenceBatch:
        """Score ``[N,H,W,3]`` uint8 BGR frames of the model's size."""
        self.model.eval()
        with torch.inference_mode():
            output = self.model(self.pre_processor(frames))
        assert isinstance(output, InferenceBatch)
        return output

    def training_step(self, batch: Batch) -> Tensor:
        """Embed a batch into the pool; returns a zero loss."""
        self.model.train()
        with torch.inference_mode():
            self.embeddings.append(self.model(self.pre_processor(batch.image)))
        return torch.zeros(())

    def validation_step(self, batch: Batch) -> Batch:
        """Score a batch; returns it with ``pred_score`` and ``anomaly_map``."""
        output = self(batch.image)
        return batch._replace(pred_score=output.pred_score, anomaly_map=output.anomaly_map)

    def fit(self, pool: Pool | None = None, *, size: int | None = None, projection_eps: float | None = None) -> None:
        """Make a coreset of the pool the memory bank.

        Args:
            pool: ``[n, D]`` features; what the training steps gathered when absent, which is then let go of.
            size: patches to keep, in place of the sampling ratio.
            projection_eps: see ``KCenterGreedy``.

        Raises:
            ConfigError: no training step came before.
        """
        if pool is None:
            if not self.embeddings:
                raise ConfigError("There are no embeddings to fit; run the training steps first.")
            pool = torch.cat(self.embeddings)
            self.embeddings.clear()
        self.pool_size = len(pool)
        device = self.model.memory_bank.device
        sampler = KCenterGreedy(
            pool, self.coreset_sampling_ratio, self.seed, size=size, projection_eps=projection_eps, device=device
        )
        self.coreset_rows = sampler.select_coreset_idxs()
        self.model.memory_bank = pool_rows(pool, self.coreset_rows).to(device)
        self.model.eval()
