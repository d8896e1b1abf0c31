"""The backbone: intermediate features of a timm network."""

from __future__ import annotations

from collections.abc import Sequence

import timm
import torch
from torch import Tensor, nn

from patchcore_edge_runtime.errors import ConfigError

from ..weights import load_weights, local_weights

__all__ = ["TimmFeatureExtractor"]


class TimmFeatureExtractor(nn.Module):
    """Features of named layers, without gradients and always in evaluation mode.

    Args:
        backbone: timm name of a network that supports ``features_only``.
        layers: names as timm's ``feature_info`` lists them, such as ``layer2`` or ``blocks.4``.
        pre_trained: load ImageNet weights: those ``patchcore_edge.weights`` finds here, else through timm.
    """

    def __init__(self, backbone: str, layers: Sequence[str], pre_trained: bool = True) -> None:
        super().__init__()
        self.layers = tuple(layers)
        local = local_weights(backbone) if pre_trained else None
        indices = _out_indices(backbone, self.layers)
        self.network = timm.create_model(
            backbone, pretrained=pre_trained and local is None, features_only=True, out_indices=indices
        )
        if local is not None:
            load_weights(self.network, local)
        self.out_dims = dict(zip(self._names(), self.network.feature_info.channels(), strict=True))
        self.mean = tuple(float(v) for v in self.network.pretrained_cfg["mean"])
        self.std = tuple(float(v) for v in self.network.pretrained_cfg["std"])
        self.network.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> TimmFeatureExtractor:
        """Stay in evaluation mode: batch statistics must not follow the training images."""
        return super().train(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """``[N,3,H,W]`` normalised RGB → layer → ``[N,C,h,w]``, in the order of ``layers``."""
        features = dict(zip(self._names(), self.network(images), strict=True))
        return {layer: features[layer] for layer in self.layers}

    def _names(self) -> list[str]:
        return list(self.network.feature_info.module_name())


def _out_indices(backbone: str, layers: tuple[str, ...]) -> tuple[int, ...]:
    if not layers:
        raise ConfigError("No layers were named; give at least one.")
    try:
        # On the meta device: only the names are wanted, no memory and no random numbers.
        with torch.device("meta"):
            known = list(timm.create_model(backbone, features_only=True).feature_info.module_name())
    except RuntimeError as error:
        raise ConfigError(f"timm offers no features of a backbone {backbone!r} ({error}).") from None
    unknown = [layer for layer in layers if layer not in known]
    if unknown:
        raise ConfigError(f"{backbone} has no layer {unknown[0]!r}; its layers are {', '.join(known)}.")
    return tuple(sorted(known.index(layer) for layer in set(layers)))
