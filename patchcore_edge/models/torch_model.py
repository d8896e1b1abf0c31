"""PatchCore in PyTorch: embeddings, memory bank, distances and scores (Roth et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from patchcore_edge_runtime.bundle.recipe import ScoreRule
from patchcore_edge_runtime.errors import CheckpointError, ConfigError
from patchcore_edge_runtime.validation import one_of

from .anomaly_map import AnomalyMapGenerator
from .centering import centered
from .feature_space import FeatureSpace
from .k_center_greedy import KCenterGreedy
from .neighbors import nearest
from .patch_embedder import PatchEmbedder
from .score_rule import ruled_scores

__all__ = ["InferenceBatch", "PatchcoreModel"]


class InferenceBatch(NamedTuple):
    """Raw outputs for N images: ``pred_score`` ``[N]`` and ``anomaly_map`` ``[N,1,H,W]``, float32."""

    pred_score: Tensor
    anomaly_map: Tensor


class PatchcoreModel(PatchEmbedder):
    """The network and its memory bank.

    Args:
        layers: names of the backbone's layers as timm lists them; a set, whose order does not matter.
        backbone: timm name.
        pre_trained: load ImageNet weights; where from, see ``patchcore_edge.models.weights``.
        num_neighbors: neighbours that re-weight the image score (b in eq. 7); 1 turns re-weighting off.
        score: how an image's score comes from its patches; see ``ScoreRule``.
        patch_stride: pixels from patch to patch; finer layers are averaged, coarser ones interpolated.
        patch_size: side of the square of a layer's cells that are averaged into one, odd.
        image_size: (height, width) in pixels; only networks that take one size need it, see ``TimmFeatureExtractor``.
        centering: share of an image's mean features that is taken off its patches, in [0, 1].

    Attributes:
        layers: from the first of the network to the last; without a stride the first sets the grid of patches.
        feature_extractor: ``[N,3,H,W]`` normalised images → layer → features.
        feature_pooler: averages of each layer's features over ``patch_size``, at stride 1.
        anomaly_map_generator: patch scores → smooth map of the image's size.
        memory_bank: ``[M, D]`` float32 patch features, in the feature space where one is set; empty until fitted or
            loaded.
        ignored: ``[P]`` bool, the patches that have no score; empty where all have one.

    Examples:
        >>> import torch
        >>> from patchcore_edge.models import PatchcoreModel
        >>> model = PatchcoreModel(
        ...     backbone="wide_resnet50_2",
        ...     layers=["layer2", "layer3"],
        ...     pre_trained=True,
        ...     num_neighbors=9
        ... )
        >>> input_tensor = torch.randn(32, 3, 224, 224)
        >>> output = model(input_tensor)

        A new model is in training mode and embeds: 32 images of 28x28 patches each.

        >>> output.shape
        torch.Size([25088, 1536])
    """

    memory_bank: Tensor
    space_mean: Tensor
    space_axes: Tensor
    ignored: Tensor

    def __init__(
        self,
        layers: Sequence[str],
        backbone: str = "wide_resnet50_2",
        pre_trained: bool = True,
        num_neighbors: int = 9,
        *,
        score: ScoreRule | str = ScoreRule.REFERENCE,
        patch_stride: int | None = None,
        patch_size: int = 3,
        image_size: tuple[int, int] | None = None,
        centering: float = 0.0,
    ) -> None:
        super().__init__(
            layers, backbone, pre_trained, patch_stride=patch_stride, patch_size=patch_size, image_size=image_size
        )
        if not 0 <= centering <= 1:
            raise ConfigError(f"The centering is {centering}; give a share from 0 to 1.")
        one_of("score", str(score), tuple(map(str, ScoreRule)))
        self.score = ScoreRule(score)
        self.num_neighbors, self.centering = num_neighbors, centering
        self.anomaly_map_generator = AnomalyMapGenerator()
        self.register_buffer("memory_bank", torch.empty(0))
        self.register_buffer("space_mean", torch.empty(0))
        self.register_buffer("space_axes", torch.empty(0))
        # Not in the checkpoint: it follows from polygons, which are.
        self.register_buffer("ignored", torch.empty(0, dtype=torch.bool), persistent=False)

    def forward(self, input_tensor: Tensor) -> Tensor | InferenceBatch:
        """Embed in training mode, score in evaluation mode.

        Args:
            input_tensor: ``[N,3,H,W]`` float RGB, normalised as the backbone was trained.

        Returns:
            in training mode the embeddings ``[N*h*w, D]``; otherwise scores and maps.

        Raises:
            CheckpointError: evaluation with an empty memory bank.

        Examples:
            >>> import torch
            >>> from patchcore_edge.models import InferenceBatch, PatchcoreModel
            >>> model = PatchcoreModel(layers=["layer1"])
            >>> input_tensor = torch.randn(32, 3, 224, 224)
            >>> output = model(input_tensor)
            >>> if model.training:
            ...     assert isinstance(output, torch.Tensor)
            ... else:
            ...     assert isinstance(output, InferenceBatch)

            After a fit it scores.

            >>> model.subsample_embedding(output[:1000], sampling_ratio=0.1)
            >>> scored = model.eval()(input_tensor[:2])
            >>> scored.pred_score.shape, scored.anomaly_map.shape
            (torch.Size([2]), torch.Size([2, 1, 224, 224]))
        """
        with torch.no_grad():
            embedding = self.embed(input_tensor)
        batch, _, height, width = embedding.shape
        flat = self.reshape_embedding(embedding)
        if self.training:
            return flat
        size = (input_tensor.shape[-2], input_tensor.shape[-1])
        return self.score_patches(flat.reshape(batch, height * width, -1), (height, width), size)

    def embed(self, input_tensor: Tensor) -> Tensor:
        """``[N,3,H,W]`` normalised images → ``[N,D,h,w]`` patch features, pooled, merged and centred."""
        return centered(super().embed(input_tensor), self.centering, self.ignored)

    def score_patches(self, patches: Tensor, grid: tuple[int, int], image_size: tuple[int, int]) -> InferenceBatch:
        """Score images by their patch features.

        Args:
            patches: ``[N, P, D]`` as the backbone gives them.
            grid: rows and columns of the P patches.
            image_size: height and width of the map.

        Raises:
            CheckpointError: the bank is empty.
        """
        self._require_bank()
        batch = len(patches)
        rows = self.project(patches.flatten(0, 1))
        distances, locations = (one.reshape(batch, -1) for one in self.nearest_neighbors(rows, 1))
        distances = self.counted(distances)
        anomaly_map = self.anomaly_map_generator(distances.reshape(batch, 1, *grid), image_size)
        if self.score is ScoreRule.REFERENCE:
            return InferenceBatch(self.compute_anomaly_score(distances, locations, rows), anomaly_map)
        return InferenceBatch(ruled_scores(self.score, distances, anomaly_map), anomaly_map)

    def counted(self, distances: Tensor) -> Tensor:
        """``[..., P]`` distances of an image's patches, 0 where nothing counts."""
        return distances.masked_fill(self.ignored, 0) if len(self.ignored) else distances

    @property
    def feature_space(self) -> FeatureSpace | None:
        """The space in which distances are taken; None for the features as they are."""
        return FeatureSpace(self.space_mean, self.space_axes) if len(self.space_axes) else None

    @feature_space.setter
    def feature_space(self, space: FeatureSpace | None) -> None:
        empty = self.memory_bank.new_empty(0)
        self.space_mean, self.space_axes = (space.mean, space.axes) if space is not None else (empty, empty)

    def project(self, rows: Tensor) -> Tensor:
        """``[n, D]`` features → ``[n, k]`` in the feature space."""
        space = self.feature_space
        return rows if space is None else space(rows)

    def subsample_embedding(self, embedding: Tensor, sampling_ratio: float, seed: int = 0) -> None:
        """Set the memory bank to a greedy k-center coreset.

        Args:
            embedding: ``[n, D]``.
            sampling_ratio: share to keep, in (0, 1].
            seed: decides the first pick.

        Examples:
            >>> import torch
            >>> model = PatchcoreModel(["layer1"], "resnet18", pre_trained=False)
            >>> embedding = torch.randn(1000, 512)
            >>> model.subsample_embedding(embedding, sampling_ratio=0.1)
            >>> model.memory_bank.shape
            torch.Size([100, 512])
        """
        self.memory_bank = KCenterGreedy(embedding, sampling_ratio, seed).sample_coreset().float()

    @staticmethod
    def euclidean_dist(x: Tensor, y: Tensor) -> Tensor:
        """Pairwise distances of ``[..., n, d]`` and ``[..., m, d]`` as ``[..., n, m]``, without ``cdist``.

        Examples:
            >>> import torch
            >>> x = torch.randn(100, 512)
            >>> y = torch.randn(50, 512)
            >>> distances = PatchcoreModel.euclidean_dist(x, y)
            >>> distances.shape
            torch.Size([100, 50])
        """
        # Distances do not change when a common offset is taken off, and ‖x‖²−2xy+‖y‖² keeps its digits.
        center = y.mean(-2, keepdim=True)
        x, y = x - center, y - center
        x_norm = (x * x).sum(-1, keepdim=True)
        y_norm = (y * y).sum(-1).unsqueeze(-2)
        return (x_norm + y_norm - 2 * x @ y.transpose(-2, -1)).clamp_min_(0).sqrt_()

    def nearest_neighbors(self, embedding: Tensor, n_neighbors: int) -> tuple[Tensor, Tensor]:
        """Distances and bank indices of each row's nearest neighbours, nearest first.

        Args:
            embedding: ``[n, D]``.
            n_neighbors: at most the size of the bank is returned.

        Returns:
            ``[n, k]`` each, k the smaller of ``n_neighbors`` and the size of the bank.

        Raises:
            CheckpointError: the bank is empty.

        Examples:
            >>> import torch
            >>> model = PatchcoreModel(["layer1"], "resnet18", pre_trained=False)
            >>> model.memory_bank = torch.randn(1000, 512)
            >>> embedding = torch.randn(100, 512)
            >>> scores, locations = model.nearest_neighbors(embedding, n_neighbors=5)
            >>> scores.shape, locations.shape
            (torch.Size([100, 5]), torch.Size([100, 5]))
        """
        self._require_bank()
        return nearest(self.memory_bank, embedding, n_neighbors)

    def compute_anomaly_score(self, patch_scores: Tensor, locations: Tensor, embedding: Tensor) -> Tensor:
        """Image scores (Roth et al. 2022, eq. 6 and 7).

        Args:
            patch_scores: ``[N, P]`` distance of each patch to its nearest neighbour.
            locations: ``[N, P]`` bank index of that neighbour.
            embedding: ``[N*P, D]`` the patches.

        Returns:
            ``[N]``: the largest patch score, times one minus its softmax weight among the distances to the
            ``num_neighbors`` bank vectors around the neighbour; just the largest for ``num_neighbors=1``.

        Examples:
            >>> import torch
            >>> model = PatchcoreModel(["layer1"], "resnet18", pre_trained=False)
            >>> model.memory_bank = torch.randn(1000, 512)
            >>> patch_scores = torch.randn(32, 49)  # 7x7 patches
            >>> locations = torch.randint(0, 1000, (32, 49))
            >>> embedding = torch.randn(32 * 49, 512)
            >>> scores = model.compute_anomaly_score(patch_scores, locations,
            ...                                    embedding)
            >>> scores.shape
            torch.Size([32])
        """
        score, worst = patch_scores.max(1)
        # A bank of one has no neighbourhood: its softmax weight would be 1 and every score 0.
        if self.num_neighbors == 1 or len(self.memory_bank) == 1:
            return score
        rows = torch.arange(len(worst), device=worst.device)
        patch = embedding.reshape(*patch_scores.shape, -1)[rows, worst]
        neighbor = self.memory_bank[locations[rows, worst]]
        _, support = self.nearest_neighbors(neighbor, self.num_neighbors)
        # Differences, not euclidean_dist: few vectors, and close to each other.
        weights: Tensor = torch.linalg.vector_norm(patch.unsqueeze(1) - self.memory_bank[support], dim=2).softmax(1)
        return score * (1 - weights[:, 0])

    def _require_bank(self) -> None:
        if not len(self.memory_bank):
            raise CheckpointError("The memory bank is empty; fit the model or load a checkpoint before scoring.")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Sizes are whatever was fitted; torch would refuse any but today's. Older checkpoints have no feature space.
        for name in ("memory_bank", "space_mean", "space_axes"):
            own = getattr(self, name)
            given = state_dict.setdefault(f"{prefix}{name}", own.new_empty(0))
            setattr(self, name, own.new_empty(given.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)
