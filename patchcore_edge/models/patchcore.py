"""PatchCore (Roth et al. 2022, https://arxiv.org/abs/2106.08265) as the engine drives it.

Training steps fill a pool of patch features, ``fit`` makes a coreset of it the memory bank, and from then on images
are scored by the distance of their patches to the bank.

Examples:
    >>> from patchcore_edge.data import MVTec
    >>> from patchcore_edge.models import Patchcore
    >>> from patchcore_edge.engine import Engine

    >>> # Initialize model and data
    >>> datamodule = MVTec()
    >>> model = Patchcore(
    ...     backbone="wide_resnet50_2",
    ...     layers=["layer2", "layer3"],
    ...     coreset_sampling_ratio=0.1
    ... )

    >>> # Train using the Engine
    >>> engine = Engine()
    >>> engine.fit(model=model, datamodule=datamodule)

    >>> # Get predictions
    >>> predictions = engine.predict(model=model, datamodule=datamodule)

    Each is a batch with raw scores and maps of the model's size.

    >>> predictions[0].anomaly_map.shape[1:]
    torch.Size([1, 256, 256])
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from patchcore_edge_runtime.bundle.recipe import AugmentOptions, PcaOptions, ScoreRule
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.images.geometry import Masks
from patchcore_edge_runtime.images.preprocess import PreprocessSpec

from ..data.augmentation import Augmenter
from ..data.batch import Batch
from ..metrics.evaluator import Evaluator
from .feature_space import pool_moments, pool_origin, projected
from .ignored import counted_rows, ignored_cells
from .images_pool import RowsPool, counted_only
from .k_center_greedy import KCenterGreedy, Pool, pool_rows
from .post_processor import PostProcessor
from .pre_processor import PreProcessor
from .torch_model import InferenceBatch, PatchcoreModel
from .visualizer import Visualizer
from .weights import load_weights, report_unused

__all__ = ["LearningType", "Patchcore"]


class LearningType(StrEnum):
    """What a model learns from."""

    ONE_CLASS = "one_class"


class Patchcore(nn.Module):
    """PatchCore with what surrounds it: preprocessing, thresholds, metrics, pictures.

    Of the four components, True gives the default, False does without, and an instance is taken as it is.

    Args:
        backbone: timm name. The default is the reference's, so that its examples hold; that of the commands is
            ``tf_efficientnet_lite0`` with the layers ``blocks.2`` and ``blocks.4``, which is made for small PCs and
            whose weights a package brings.
        layers: names of the backbone's layers; a set, whose order does not matter.
        pre_trained: load ImageNet weights.
        coreset_sampling_ratio: fraction of the patches that the memory bank keeps, in (0, 1].
        num_neighbors: neighbours that re-weight the image score.
        pre_processor: how images become inputs; True for 256x256 without a crop. Mean and standard deviation are the
            backbone's unless it has its own. Without one, batches hold normalised float ``[N,3,H,W]`` images.
        post_processor: thresholds, and the labels and masks that follow from them.
        evaluator: the metrics of ``Engine.test``.
        visualizer: the pictures of ``Engine.predict`` and ``Engine.test``.
        weights: file with the backbone's weights, in place of what ``pre_trained`` would find.
        seed: decides the coreset's first pick.
        score: how an image's score comes from its patches; eq. 7 unless another of ``ScoreRule`` is named.
        pca: the feature space that ``fit`` finds; the features as they are when absent.
        patch_stride: pixels from patch to patch; as the first layer has them when absent.
        patch_size: side of the square of a layer's cells that are averaged into one: 1, 3, 5 …
        centering: share of an image's mean features that is taken off its patches, in [0, 1].
        augment: what further pictures of each training image vary, which go into the pool too; none when absent.
        ignore_masks: polygons in fractions of the frame within which nothing counts: their patches are in no bank and
            have no score.

    Attributes:
        embeddings: ``[n, D]`` float32 per training step, until ``fit``.
        pool_size: patches that ``fit`` chose from.
        coreset_rows: which rows of its pool it chose, in the order of choice.
        hidden: ``[H, W]`` bool, the pixels of its input in which nothing counts; None where all do.
        counted_rows: ``[r]`` which of an image's rows in a pool may be chosen; None where all may.

    Raises:
        ConfigError: an argument that cannot be met, or no weights.
    """

    def __init__(
        self,
        backbone: str = "wide_resnet50_2",
        layers: Sequence[str] = ("layer2", "layer3"),
        pre_trained: bool = True,
        coreset_sampling_ratio: float = 0.1,
        num_neighbors: int = 9,
        pre_processor: PreProcessor | bool = True,
        post_processor: PostProcessor | bool = True,
        evaluator: Evaluator | bool = True,
        visualizer: Visualizer | bool = True,
        *,
        weights: Path | None = None,
        seed: int = 0,
        score: ScoreRule | str = ScoreRule.REFERENCE,
        pca: PcaOptions | None = None,
        patch_stride: int | None = None,
        patch_size: int = 3,
        centering: float = 0.0,
        augment: AugmentOptions | None = None,
        ignore_masks: Masks = (),
    ) -> None:
        super().__init__()
        if not 0 < coreset_sampling_ratio <= 1:
            raise ConfigError(f"The coreset sampling ratio is {coreset_sampling_ratio}; give a number in (0, 1].")
        if num_neighbors < 1:
            raise ConfigError(f"The number of neighbors is {num_neighbors}; give at least 1.")
        if patch_size < 1 or patch_size % 2 == 0 or (patch_stride is not None and patch_stride < 1):
            raise ConfigError(
                f"The patch size is {patch_size} and the stride {patch_stride}; give an odd size and a positive stride."
            )
        if not isinstance(pre_processor, PreProcessor):
            pre_processor = PreProcessor(self.configure_pre_processor().spec, prepared=not pre_processor)
        size = pre_processor.spec.input_size
        self.model = PatchcoreModel(
            layers,
            backbone,
            pre_trained and weights is None,
            num_neighbors,
            score=score,
            patch_stride=patch_stride,
            patch_size=patch_size,
            image_size=size,
            centering=centering,
        )
        self.pca, self.augment = pca, augment
        extractor = self.model.feature_extractor
        if weights is not None:
            report_unused(weights, load_weights(extractor.network, weights))
        if patch_stride is not None:
            self.model.patch_grid(size)  # refuses what does not fill the patches
        self.pre_processor = pre_processor.completed(extractor.mean, extractor.std)
        self.look_at(self.pre_processor.spec, ignore_masks)
        self.post_processor = self.configure_post_processor() if post_processor is True else post_processor or None
        self.evaluator = Evaluator() if evaluator is True else evaluator or None
        self.visualizer = Visualizer() if visualizer is True else visualizer or None
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
        """The preprocessing for a size and an optional centre crop, both (height, width) in pixels.

        Args:
            image_size: 256x256 when absent.
            center_crop_size: taken out of the resized image; no crop when absent.

        Raises:
            ConfigError: the crop is larger than the image, or either is too small.

        Examples:
            >>> import numpy as np
            >>> image = np.zeros((480, 640, 3), np.uint8)
            >>> pre_processor = Patchcore.configure_pre_processor(
            ...     image_size=(256, 256)
            ... )
            >>> transformed_image = pre_processor(image)
            >>> transformed_image.shape
            torch.Size([1, 3, 256, 256])
        """
        return PreProcessor.of_size(image_size or (256, 256), center_crop_size)

    def look_at(self, spec: PreprocessSpec, ignore_masks: Masks) -> None:
        """Take what counts in a frame: its region of interest, and what in it is ignored.

        Args:
            spec: of the same input size.
            ignore_masks: polygons in fractions of the frame.

        Raises:
            ConfigError: nothing is left, or where the masks lie in the region is not known.
        """
        ignored = ignored_cells(ignore_masks, spec, self.model.patch_grid(spec.input_size)) if ignore_masks else None
        self.hidden = ignored_cells(ignore_masks, spec, spec.input_size)
        if spec != self.pre_processor.spec:
            self.pre_processor = copy.deepcopy(self.pre_processor)  # another model may share it
            self.pre_processor.spec = spec
        self.ignore_masks = ignore_masks
        self.counted_rows = None if ignored is None else counted_rows(ignored, self.augment)
        flat = np.zeros(0, np.bool_) if ignored is None else ignored.ravel()
        self.model.ignored = torch.from_numpy(flat).to(self.model.memory_bank.device)

    @staticmethod
    def configure_post_processor() -> PostProcessor:
        """The default: thresholds of the highest F1 on labelled defects, else for a false-reject rate of 0.1 %."""
        return PostProcessor()

    @staticmethod
    def configure_optimizers() -> None:
        """PatchCore needs no optimization."""

    @property
    def learning_type(self) -> LearningType:
        """Always one-class: PatchCore learns from good images only."""
        return LearningType.ONE_CLASS

    def forward(self, images: Tensor) -> InferenceBatch:
        """Score images, in any form that the pre-processor takes."""
        self.model.eval()
        with torch.inference_mode():
            output = self.model(self.pre_processor(images))
        assert isinstance(output, InferenceBatch)
        return output

    def training_step(self, batch: Batch, *args: Any, **kwargs: Any) -> Tensor:
        """Embed a batch into the pool, ``self.embeddings``; returns a zero loss. Further arguments are ignored."""
        self.model.train()
        images = Augmenter(self.augment, self.seed)(batch.image)
        with torch.inference_mode():
            self.embeddings.append(self.model(self.pre_processor(images)))
        return torch.zeros(())

    def validation_step(self, batch: Batch, *args: Any, **kwargs: Any) -> Batch:
        """Score a batch; further arguments are ignored.

        Returns:
            the batch with ``pred_score`` and ``anomaly_map``; with thresholds, ``pred_label`` and ``pred_mask`` too.
            Where nothing counts, ``gt_mask`` has no defect.
        """
        return self._judged(batch, self(batch.image))

    @torch.inference_mode()
    def score_features(self, batch: Batch, rows: Tensor) -> Batch:
        """As ``validation_step``, of images whose features ``[N*P, D]`` are known."""
        size, patches = self.pre_processor.spec.input_size, rows.reshape(len(batch.image), -1, rows.shape[1])
        return self._judged(batch, self.model.score_patches(patches, self.model.patch_grid(size), size))

    def _judged(self, batch: Batch, output: InferenceBatch) -> Batch:
        if batch.gt_mask is not None and self.hidden is not None:
            batch = batch._replace(gt_mask=batch.gt_mask & ~torch.from_numpy(self.hidden).to(batch.gt_mask.device))
        scored = batch._replace(pred_score=output.pred_score, anomaly_map=output.anomaly_map)
        return scored if self.post_processor is None else self.post_processor(scored)

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
        pool = counted_only(pool, self.counted_rows)
        places = pool.places if isinstance(pool, RowsPool) and self.counted_rows is not None else None
        self.pool_size = len(pool)
        device = self.model.memory_bank.device
        space = None if self.pca is None else pool_moments(pool, pool_origin(pool)).space(self.pca).to(device)
        pool = projected(pool, space)
        sampler = KCenterGreedy(
            pool, self.coreset_sampling_ratio, self.seed, size=size, projection_eps=projection_eps, device=device
        )
        picked = sampler.select_coreset_idxs()
        self.coreset_rows = picked if places is None else places[picked].tolist()
        self.model.memory_bank = pool_rows(pool, picked).to(device)
        self.model.feature_space = space
        self.model.eval()
