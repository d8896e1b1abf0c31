"""From images to patch features: the network, and its layers merged on one grid (Roth et al. 2022, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from .feature_extractor import TimmFeatureExtractor
from .layer_merge import on_grid, plane, stride_grid

__all__ = ["PatchEmbedder"]


class PatchEmbedder(nn.Module):
    """The half of ``PatchcoreModel`` that knows no memory bank.

    Args:
        layers: names of the backbone's layers as timm lists them; a set, in any order.
        backbone: timm name.
        pre_trained: load ImageNet weights.
        patch_stride: pixels from patch to patch; finer layers are averaged, coarser ones interpolated.
        patch_size: side of the square of a layer's cells that are averaged into one, odd.
        image_size: (height, width) in pixels; only networks that take one size need it, see ``TimmFeatureExtractor``.

    Attributes:
        layers: from the first of the network to the last; without a stride the first sets the grid of patches.
        feature_extractor: ``[N,3,H,W]`` normalised images → layer → features.
        feature_pooler: averages of each layer's features over ``patch_size``, at stride 1.
    """

    def __init__(
        self,
        layers: Sequence[str],
        backbone: str,
        pre_trained: bool,
        *,
        patch_stride: int | None,
        patch_size: int,
        image_size: tuple[int, int] | None,
    ) -> None:
        super().__init__()
        self.patch_stride, self.patch_size = patch_stride, patch_size
        self.backbone = backbone
        self.feature_extractor = TimmFeatureExtractor(backbone, layers, pre_trained, image_size=image_size)
        self.layers = self.feature_extractor.layers
        self.feature_pooler = nn.AvgPool2d(patch_size, 1, patch_size // 2)

    def patch_grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the patches of an image, computed from the layers' shapes; no pixel is looked at.

        Args:
            image_size: (height, width) in pixels.
        """
        grids = self.feature_extractor.grids(image_size)
        return grids[self.layers[0]] if self.patch_stride is None else stride_grid(image_size, self.patch_stride, grids)

    @property
    def embedding_dim(self) -> int:
        """Length of a patch's feature vector."""
        return sum(self.feature_extractor.out_dims[layer] for layer in self.layers)

    def embed(self, input_tensor: Tensor) -> Tensor:
        """``[N,3,H,W]`` normalised images → ``[N,D,h,w]`` patch features, pooled and merged."""
        pooled = {layer: self.feature_pooler(one) for layer, one in self.feature_extractor(input_tensor).items()}
        if self.patch_stride is None:
            return self.generate_embedding(pooled)
        grids = {layer: plane(one) for layer, one in pooled.items()}
        grid = stride_grid(plane(input_tensor), self.patch_stride, grids)
        return torch.cat([on_grid(pooled[layer], grid) for layer in self.layers], dim=1)

    def generate_embedding(self, features: dict[str, Tensor]) -> Tensor:
        """Merge layers: each is resized bilinearly to the first one's grid, then all are put behind one another.

        Args:
            features: layer → ``[N,C,h,w]``, pooled.

        Returns:
            ``[N, sum of C, h, w]``, h and w those of the first of the model's layers.

        Examples:
            >>> import torch
            >>> from patchcore_edge.models import PatchcoreModel
            >>> model = PatchcoreModel(["layer1", "layer2"], "resnet18", pre_trained=False)
            >>> features = {
            ...     "layer1": torch.randn(32, 64, 56, 56),
            ...     "layer2": torch.randn(32, 128, 28, 28)
            ... }
            >>> embedding = model.generate_embedding(features)
            >>> embedding.shape
            torch.Size([32, 192, 56, 56])
        """
        first = features[self.layers[0]]
        size = first.shape[-2:]
        others = [features[layer] for layer in self.layers[1:]]
        merged = [interpolate(layer, size=size, mode="bilinear", align_corners=False) for layer in others]
        return torch.cat([first, *merged], dim=1)

    @staticmethod
    def reshape_embedding(embedding: Tensor) -> Tensor:
        """``[N,D,h,w]`` → ``[N*h*w, D]``, patches in row-major order.

        Examples:
            >>> import torch
            >>> from patchcore_edge.models import PatchcoreModel
            >>> embedding = torch.randn(32, 512, 7, 7)
            >>> reshaped = PatchcoreModel.reshape_embedding(embedding)
            >>> reshaped.shape
            torch.Size([1568, 512])
        """
        return embedding.permute(0, 2, 3, 1).reshape(-1, embedding.shape[1])
