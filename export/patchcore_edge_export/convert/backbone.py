"""A graph's backbone: where it ends, what its layers are, and how far its features are from another's."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.images.preprocess import Image

__all__ = [
    "Features",
    "backbone_model",
    "backbone_operations",
    "feature_error",
    "is_layer",
    "is_transformer",
    "pooled_features",
    "pools",
    "with_backbone_of",
]

Features = list[NDArray[np.float32]]
"""Of each chosen layer, ``[images, C, h, w]``."""

_LAYERS = ("Convolution", "GroupConvolution", "MatMul")
_ATTENTION = ("ScaledDotProductAttention", "Softmax")
_CONFIG = {"INFERENCE_PRECISION_HINT": "f32"}


def backbone_model(model: ov.Model) -> ov.Model:
    """A graph's backbone alone: frames in, the pooled features of each chosen layer out."""
    model = model.clone()
    return ov.Model([pool.output(0) for pool in pools(model)], model.get_parameters(), "backbone")


def pools(model: ov.Model) -> list[Any]:
    """The poolings of the chosen layers' features: where the backbone ends, walking back from the outputs."""
    seen: set[str] = set()
    found: dict[str, Any] = {}
    waiting = [result.input_value(0).get_node() for result in model.get_results()]
    while waiting:
        node = waiting.pop()
        name = node.get_friendly_name()
        if name in seen:
            continue
        seen.add(name)
        if node.get_type_name() == "AvgPool":
            found[name] = node
        else:
            waiting.extend(value.get_node() for value in node.input_values())
    if not found:
        raise ConfigError("The graph does not pool its features, so its backbone cannot be told from its search.")
    return [found[name] for name in sorted(found)]


def backbone_operations(model: ov.Model) -> list[Any]:
    """The operations before the pooled features, in order of computation, constants left out."""
    seen: set[str] = set()
    waiting = [pool.input_value(0).get_node() for pool in pools(model)]
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() not in seen:
            seen.add(node.get_friendly_name())
            waiting.extend(value.get_node() for value in node.input_values())
    ordered = [node for node in model.get_ordered_ops() if node.get_friendly_name() in seen]
    return [node for node in ordered if node.get_type_name() != "Constant"]


def is_layer(node: Any) -> bool:
    """Whether an operation has weights that could be stored and computed in 8 bits."""
    return node.get_type_name() in _LAYERS


def is_transformer(model: ov.Model) -> bool:
    """Whether a graph's backbone has attention."""
    return any(node.get_type_name() in _ATTENTION for node in backbone_operations(model))


def pooled_features(model: ov.Model, frames: list[Image]) -> Features:
    """The pooled features of each chosen layer, ``[frames * N, C, h, w]``."""
    compiled = ov.Core().compile_model(backbone_model(model), "CPU", _CONFIG)
    answers = [[value.copy() for value in compiled(frame).values()] for frame in frames]
    return [np.concatenate(layer) for layer in zip(*answers, strict=True)]


def feature_error(reference: Features, features: Features) -> float:
    """Of the worst layer, relative to the features' deviation from their channel's mean."""
    errors = []
    for wanted, got in zip(reference, features, strict=True):
        spread = np.linalg.norm(wanted - wanted.mean((0, 2, 3), keepdims=True))
        errors.append(float(np.linalg.norm(got - wanted) / max(float(spread), 1e-12)))
    return max(errors)


def with_backbone_of(model: ov.Model, source: ov.Model) -> ov.Model:
    """A copy of a graph whose backbone, up to the pooled features, is that of another graph of the same network."""
    model, source = model.clone(), source.clone()
    given = pools(source)
    for own, other in zip(pools(model), given, strict=True):
        for target in list(own.output(0).get_target_inputs()):
            target.replace_source_output(other.output(0))
    made = ov.Model(model.get_results(), source.get_parameters(), model.get_friendly_name())
    _name_apart(made)
    return made


def _name_apart(model: ov.Model) -> None:
    """Rename nodes of one graph that are called as nodes of the other are: by its name a node is known here."""
    seen: set[str] = set()
    nodes: list[Any] = model.get_ordered_ops()
    for node in nodes:
        name = node.get_friendly_name()
        while name in seen:
            name = f"{name}_"
        node.set_friendly_name(name)
        seen.add(name)
