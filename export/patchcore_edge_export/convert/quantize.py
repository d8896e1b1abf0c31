"""INT8 for the backbone of a converted graph; the search keeps its floats.

What the recipe is and what was measured for it: docs/quantization.md. In short:

- Only layers with weights are quantized. The first one is not: it meets pixels less their mean, whose steps would be
  rounded to steps of another size; sums and pools are not: their rounding goes straight into the features.
- Ranges of activations are the extremes over the images. Means of extremes clip what is rare, and rare is the point.
- Weights use half their range (NNCF's overflow fix): CPUs without VNNI add pairs of products in 16 bits, which
  saturate otherwise. Then such a CPU scores as any other.
- In transformers few channels of the activations are large. NNCF divides them and multiplies the weights instead
  (SmoothQuant), half as much as would make the activations even.
- Each layer is quantized alone and the error of the features measured. Those that err most stay in float until the
  rest keep within ``ERROR_BUDGET``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov

from patchcore_edge.data.evenly_spaced import evenly_chosen
from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.images.preprocess import Image

from ..progress import Shown
from .backbone import backbone_operations, feature_error, is_layer, pooled_features
from .recipe import ERROR_BUDGET, SMOOTHED, Recipe, compress_with, quantize_with

__all__ = ["Quantized", "compress_weights", "quantize", "worst_layers"]

_PROBES = 6


@dataclass(frozen=True)
class Quantized:
    """A quantized graph.

    Attributes:
        model: the graph.
        layer_errors: layer → error of the features when it alone is quantized; empty where none was measured.
        float_layers: layers left in float, the first one included.
        layers: how many the backbone has.
        feature_error: of the whole backbone, relative to how much the features vary.
    """

    model: ov.Model
    layer_errors: dict[str, float]
    float_layers: tuple[str, ...]
    layers: int
    feature_error: float


def quantize(model: ov.Model, images: Sequence[Image], batch: int, recipe: Recipe | None = None) -> Quantized:
    """Quantize the backbone.

    Args:
        model: as converted from ONNX, in float32; left as it is.
        images: good training images, HxWx3 uint8 BGR of the model's size.
        batch: the graph's static batch size.
        recipe: what to vary.

    Raises:
        DataError: there are no images.
        ConfigError: the graph has no backbone that can be told from its search.
    """
    recipe = recipe or Recipe()
    if not images:
        raise DataError("The run kept no training images to take the ranges of INT8 from; train it again.")
    frames = [np.repeat(image[None], batch, axis=0) for image in evenly_chosen(images, recipe.images)]
    probes = evenly_chosen(frames, _PROBES)
    layers = [node.get_friendly_name() for node in backbone_operations(model) if is_layer(node)]
    if not layers:
        raise ConfigError("The graph's backbone has no layer that could be quantized; use --precision fp16.")
    kept = [*(layers[:1] if recipe.float_first else []), *recipe.float_layers]
    return _lowered(
        model, layers, kept, probes, recipe.budget, lambda floats: quantize_with(model, frames, floats, recipe)
    )


def compress_weights(model: ov.Model, images: Sequence[Image], batch: int) -> Quantized:
    """Store weights in 8 bits a number, with a scale for each channel; computation stays float.

    The bank is compressed too: it is most of a bundle. Its vectors are rounded once; the products with them are not,
    which is what ruins a quantized search. Layers of the backbone stay as they are by the same budget as in
    ``quantize``.

    Args:
        model, images, batch: as for ``quantize``.

    Raises:
        DataError: there are no images.
    """
    if not images:
        raise DataError("The run kept no training images to measure compressed weights on; train it again.")
    probes = [np.repeat(image[None], batch, axis=0) for image in evenly_chosen(images, _PROBES)]
    layers = [node.get_friendly_name() for node in backbone_operations(model) if is_layer(node)]
    return _lowered(model, layers, [], probes, ERROR_BUDGET, lambda floats: compress_with(model, floats))


def _lowered(
    model: ov.Model,
    layers: list[str],
    kept: list[str],
    probes: list[Image],
    budget: float | None,
    lower: Callable[[list[str]], ov.Model],
) -> Quantized:
    """Lower all layers but ``kept``; then again without those whose errors do not fit the budget."""
    lowered = lower(kept)
    reference = pooled_features(model, probes)
    errors: dict[str, float] = {}

    def error(changed: ov.Model) -> float:
        return feature_error(reference, pooled_features(changed, probes))

    if budget is not None:
        candidates = [name for name in layers if name not in kept]
        told = Shown(candidates, "8 bits, 2 of 3: what each layer alone would change", "layer")
        errors = {name: error(_alone(lowered, model, name)) for name in told}
        worst = worst_layers(errors, budget)
        kept = kept + worst
        lowered = lower(kept) if worst else lowered
    return Quantized(lowered, errors, tuple(kept), len(layers), error(lowered))


def _alone(quantized: ov.Model, original: ov.Model, name: str) -> ov.Model:
    """``quantized`` with every layer but one as it was."""
    weights = {node.get_friendly_name(): node for node in backbone_operations(original) if is_layer(node)}
    model = quantized.clone()
    for node in backbone_operations(model):
        if not is_layer(node) or node.get_friendly_name() == name:
            continue
        source = node.input_value(0)
        while source.get_node().get_type_name() == "FakeQuantize" or SMOOTHED in source.get_node().get_friendly_name():
            source = source.get_node().input_value(0)
        node.input(0).replace_source_output(source)
        constant = weights[node.get_friendly_name()].input_value(1).get_node()
        if constant.get_type_name() == "Constant":
            node.input(1).replace_source_output(constant.output(0))
    return model


def worst_layers(errors: dict[str, float], budget: float) -> list[str]:
    """The layers to keep in float, so that the others' errors, which add as squares, stay within the budget."""
    falling = sorted(errors, key=lambda name: -errors[name])
    kept = 0
    while kept < len(falling) and sum(errors[name] ** 2 for name in falling[kept:]) > budget**2:
        kept += 1
    return falling[:kept]
