"""The backbone: intermediate features of a timm network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.func import functional_call

from patchcore_edge_runtime.errors import ConfigError

from .hub import downloaded
from .image_size import META_ERRORS, meta_network, own_size, size_options
from .weights import load_tensors, load_weights, local_weights

__all__ = ["TimmFeatureExtractor", "layer_strides", "size_step"]

_USUAL_STEP = 32
"""Pixels: the coarsest stride of convolutional networks."""


class TimmFeatureExtractor(nn.Module):
    """Features of named layers, without gradients and always in evaluation mode.

    Args:
        backbone: timm name of a network that supports ``features_only``.
        layers: names as timm's ``feature_info`` lists them, such as ``layer2`` or ``blocks.4``; a set, in any order.
        pre_trained: load ImageNet weights: those ``patchcore_edge.models.weights`` finds here, else through timm.
        image_size: (height, width) in pixels to build the network for, where it takes one size only, as most
            transformers do; the size it was trained with when absent. Positions in the weights are resampled to it.

    Attributes:
        layers: as timm lists them, from the first of the network to the last.
        network: timm's feature network, cut after its last used layer.
        out_dims: layer → channels.
        mean, std: of the RGB channels on [0, 1] that the backbone was trained with.
        fixed_size: the only height and width that the network takes, as built; None where it takes any.

    Raises:
        ConfigError: no such backbone or layer, no weights that fit, or images of a size that it cannot be built for.
    """

    def __init__(
        self,
        backbone: str,
        layers: Sequence[str],
        pre_trained: bool = True,
        *,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        plain = meta_network(backbone)
        options = size_options(backbone, plain, image_size)
        options["out_indices"] = indices = _out_indices(backbone, plain, tuple(layers))
        local = local_weights(backbone) if pre_trained else None
        self.network = timm.create_model(backbone, features_only=True, **options)
        if pre_trained and local is None:
            load_tensors(self.network, downloaded(backbone, self.network, indices), backbone)
        _cut(self.network, _unused_modules(backbone, options))
        if local is not None:
            load_weights(self.network, local)
        # timm gives the features in the order of its own list, whatever the order of the indices.
        self.layers = tuple(_module_names(self.network)[index] for index in indices)
        self._channels_last_output = str(getattr(self.network, "output_fmt", "")).endswith("NHWC")
        self.out_dims = dict(zip(self.layers, self.network.feature_info.channels(), strict=True))
        self.mean = tuple(float(v) for v in self.network.pretrained_cfg["mean"])
        self.std = tuple(float(v) for v in self.network.pretrained_cfg["std"])
        fixed = bool(self.network.pretrained_cfg.get("fixed_input_size"))
        self.fixed_size = options.get("img_size", own_size(plain)) if fixed else None
        self.network.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> TimmFeatureExtractor:
        """Stay in evaluation mode: batch statistics must not follow the training images."""
        return super().train(False)

    def grids(self, image_size: tuple[int, int]) -> dict[str, tuple[int, int]]:
        """Layer → rows and columns of its features, computed from shapes alone.

        Args:
            image_size: (height, width) in pixels.
        """
        tensors = [*self.named_parameters(), *self.named_buffers()]
        shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors}
        features = functional_call(self, shapes, (torch.empty(1, 3, *image_size, device="meta"),))
        return {layer: (int(feature.shape[-2]), int(feature.shape[-1])) for layer, feature in features.items()}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """``[N,3,H,W]`` normalised RGB → layer → ``[N,C,h,w]``, in the order of ``layers``."""
        features = dict(zip(self.layers, self.network(images), strict=True))
        if self._channels_last_output:  # Swin and its kin
            features = {layer: feature.permute(0, 3, 1, 2) for layer, feature in features.items()}
        return features


def _out_indices(backbone: str, network: nn.Module, layers: tuple[str, ...]) -> tuple[int, ...]:
    """The places of ``layers`` in timm's list, sorted."""
    known = _module_names(network)
    return tuple(sorted(known.index(layer) for layer in known_layers(layers, known, backbone)))


def known_layers(layers: Sequence[str], known: Sequence[str], backbone: str) -> set[str]:
    """Each once.

    Args:
        layers: that somebody names.
        known: those that the backbone has.
        backbone: its name.

    Raises:
        ConfigError: one is not among them, or none is named.
    """
    if not layers:
        raise ConfigError("No layers were named; give at least one.")
    unknown = [layer for layer in layers if layer not in known]
    if unknown:
        raise ConfigError(f"{backbone} has no layer {unknown[0]!r}; its layers are {', '.join(known)}.")
    return set(layers)


def _module_names(network: nn.Module) -> list[str]:
    # All of them: ``feature_info.module_name()`` gives only those that are put out, which for transformers are three.
    info: Any = network.feature_info
    return [str(layer["module"]) for layer in info.info]


def _unused_modules(backbone: str, options: dict[str, Any]) -> list[str]:
    """Names of the modules that the features do not depend on.

    timm drops what follows the last layer for many families, but not for all: its EfficientNets keep and run every
    later block. What autograd does not reach from the features is not used. Where the structure cannot do without
    those modules (or cannot be traced without pixels), nothing is cut.
    """
    network = meta_network(backbone, **options)
    images = torch.empty(1, 3, *options.get("img_size", own_size(network)), device="meta")
    try:
        features = network(images)
        unused = _untouched(network, _parameters_behind(features))
        _cut(network, unused)
        same = [one.shape for one in network(images)] == [one.shape for one in features]
    except META_ERRORS:
        return []
    return unused if same else []


def _parameters_behind(outputs: Sequence[Tensor]) -> set[int]:
    """``id`` of each parameter that autograd's graph of the outputs leads to; nothing is computed."""
    waiting = [output.grad_fn for output in outputs]
    seen, found = set(waiting), set()
    while waiting:
        node: Any = waiting.pop()
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        following = {function for function, _ in getattr(node, "next_functions", ()) if function is not None} - seen
        seen |= following
        waiting += following
    return found


def _untouched(module: nn.Module, touched: set[int], prefix: str = "") -> list[str]:
    """Topmost modules with parameters none of which is among those."""
    found = []
    for name, child in module.named_children():
        parameters = list(child.parameters())
        untouched = bool(parameters) and not any(id(parameter) in touched for parameter in parameters)
        # Containers without a forward of their own stay; the network iterates over them.
        if untouched and not isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            found.append(prefix + name)
        else:
            found += _untouched(child, touched, f"{prefix}{name}.")
    return found


def _cut(network: nn.Module, names: Sequence[str]) -> None:
    for name in names:
        network.set_submodule(name, nn.Identity())


def layer_strides(backbone: str) -> dict[str, int]:
    """The layers that a network offers, from first to last, each with its pixels from cell to cell.

    Raises:
        ConfigError: no such backbone.
    """
    info: Any = meta_network(backbone).feature_info
    return {str(layer["module"]): int(layer["reduction"]) for layer in info.info}


def size_step(backbone: str) -> int:
    """What the sides of a default image size are multiples of, in pixels: 32, or the patches of a transformer.

    Raises:
        ConfigError: no such backbone.
    """
    strides = set(layer_strides(backbone).values())
    return _USUAL_STEP if all(_USUAL_STEP % stride == 0 for stride in strides) else max(strides)
