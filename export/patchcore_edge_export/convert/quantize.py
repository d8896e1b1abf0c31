"""INT8 for the backbone of a converted graph; the search keeps its floats (DESIGN section 3).

What the recipe is and what was measured for it: docs/quantization.md. In short:

- Only layers with weights are quantized. The first one is not: it meets pixels less their mean, whose steps would be
  rounded to steps of another size; sums and pools are not: their rounding goes straight into the features.
- Ranges of activations are the extremes over the images. Means of extremes clip what is rare, and rare is the point.
- Weights use half their range (NNCF's overflow fix): CPUs without VNNI add pairs of products in 16 bits, which
  saturate otherwise. Then such a CPU scores as any other.
- Each layer is quantized alone and the error of the features measured. Those that err most stay in float until the
  rest keep within ``ERROR_BUDGET``.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from patchcore_edge.telemetry import unchanged_logging
from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.images.preprocess import Image

__all__ = [
    "ERROR_BUDGET",
    "Quantized",
    "Recipe",
    "backbone_model",
    "compress_weights",
    "compress_with",
    "pools",
    "quantize",
]

ERROR_BUDGET = 0.10
"""Root of the summed squares of the layers' feature errors, relative to how much the features vary."""

_LAYERS = ("Convolution", "GroupConvolution", "MatMul")
_PROBES = 6
_CONFIG = {"INFERENCE_PRECISION_HINT": "f32"}

_Features = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Recipe:
    """What may be varied; the defaults are what ``docs/quantization.md`` found to hold.

    Attributes:
        budget: see ``ERROR_BUDGET``; None keeps no layer in float for its error.
        overflow_fix: which layers use half the range of weights, for CPUs without VNNI: ``all``, ``first``, ``none``.
        float_first: keep the first layer in float.
        extremes: ranges from the extremes over all images; otherwise NNCF's default.
        bias_correction: None, ``fast`` or ``accurate``.
        float_sums: keep everything without weights in float.
        images: how many of the training images to take the ranges from.
        float_layers: further layers to keep in float, by name.
    """

    budget: float | None = ERROR_BUDGET
    overflow_fix: Literal["all", "first", "none"] = "all"
    float_first: bool = True
    extremes: bool = True
    bias_correction: str | None = None
    float_sums: bool = True
    images: int = 64
    float_layers: tuple[str, ...] = ()


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
    frames = [np.repeat(image[None], batch, axis=0) for image in _evenly(images, recipe.images)]
    probes = _evenly(frames, _PROBES)
    layers = [node.get_friendly_name() for node in _backbone(model) if _is_layer(node)]
    if not layers:
        raise ConfigError("The graph's backbone has no layer that could be quantized; use --precision fp16.")
    kept = [*(layers[:1] if recipe.float_first else []), *recipe.float_layers]
    return _lowered(
        model, layers, kept, probes, recipe.budget, lambda floats: _nncf_quantize(model, frames, floats, recipe)
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
    probes = [np.repeat(image[None], batch, axis=0) for image in _evenly(images, _PROBES)]
    layers = [node.get_friendly_name() for node in _backbone(model) if _is_layer(node)]
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
    reference = _features(model, probes)
    errors: dict[str, float] = {}
    if budget is not None:
        candidates = [name for name in layers if name not in kept]
        errors = {name: _error(reference, _features(_alone(lowered, model, name), probes)) for name in candidates}
        worst = _worst(errors, budget)
        kept = kept + worst
        lowered = lower(kept) if worst else lowered
    return Quantized(lowered, errors, tuple(kept), len(layers), _error(reference, _features(lowered, probes)))


def backbone_model(model: ov.Model) -> ov.Model:
    """A graph's backbone alone: frames in, the pooled features of each chosen layer out."""
    model = model.clone()
    return ov.Model([pool.output(0) for pool in pools(model)], model.get_parameters(), "backbone")


def _nncf() -> Any:
    # Imported by the command that needs it: it takes seconds and brings its own logging.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    with unchanged_logging():
        import nncf

        nncf.set_log_level(logging.ERROR)
    return nncf


def compress_with(model: ov.Model, kept: Iterable[str]) -> ov.Model:
    """A copy with weights in 8 bits but for the layers named."""
    nncf = _nncf()
    ignored = nncf.IgnoredScope(names=sorted(kept), validate=False)
    with unchanged_logging(), contextlib.redirect_stdout(sys.stderr):
        return nncf.compress_weights(model.clone(), mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=ignored)


def _nncf_quantize(model: ov.Model, frames: list[Image], kept: Iterable[str], recipe: Recipe) -> ov.Model:
    nncf = _nncf()
    from nncf.quantization import advanced_parameters as advanced
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    fixes = advanced.OverflowFix
    parameters = advanced.AdvancedQuantizationParameters(
        overflow_fix={"all": fixes.ENABLE, "first": fixes.FIRST_LAYER, "none": fixes.DISABLE}[recipe.overflow_fix],
        disable_bias_correction=recipe.bias_correction is None,
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX if recipe.extremes else None,
    )
    backbone = {node.get_friendly_name() for node in _backbone(model)}
    plain = (
        {node.get_friendly_name() for node in _backbone(model) if not _is_layer(node)} if recipe.float_sums else set()
    )
    outside = {node.get_friendly_name() for node in model.get_ordered_ops()} - backbone
    ignored = nncf.IgnoredScope(names=sorted(outside | plain | set(kept)), validate=False)
    # Its progress bars go to stdout, which is for --json.
    with unchanged_logging(), contextlib.redirect_stdout(sys.stderr):
        return nncf.quantize(
            model.clone(),
            nncf.Dataset(frames),
            subset_size=len(frames),
            fast_bias_correction=recipe.bias_correction != "accurate",
            ignored_scope=ignored,
            advanced_parameters=parameters,
        )


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


def _backbone(model: ov.Model) -> list[Any]:
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


def _is_layer(node: Any) -> bool:
    return node.get_type_name() in _LAYERS


def _features(model: ov.Model, frames: list[Image]) -> _Features:
    """The pooled features of each chosen layer, ``[frames * N, C, h, w]``."""
    compiled = ov.Core().compile_model(backbone_model(model), "CPU", _CONFIG)
    answers = [[value.copy() for value in compiled(frame).values()] for frame in frames]
    return [np.concatenate(layer) for layer in zip(*answers, strict=True)]


def _error(reference: _Features, features: _Features) -> float:
    """Of the worst layer, relative to the features' deviation from their channel's mean."""
    errors = []
    for wanted, got in zip(reference, features, strict=True):
        spread = np.linalg.norm(wanted - wanted.mean((0, 2, 3), keepdims=True))
        errors.append(float(np.linalg.norm(got - wanted) / max(float(spread), 1e-12)))
    return max(errors)


def _alone(quantized: ov.Model, original: ov.Model, name: str) -> ov.Model:
    """``quantized`` with every layer but one as it was."""
    weights = {node.get_friendly_name(): node for node in _backbone(original) if _is_layer(node)}
    model = quantized.clone()
    for node in _backbone(model):
        if not _is_layer(node) or node.get_friendly_name() == name:
            continue
        source = node.input_value(0).get_node()
        if source.get_type_name() == "FakeQuantize":
            node.input(0).replace_source_output(source.input_value(0))
        constant = weights[node.get_friendly_name()].input_value(1).get_node()
        if constant.get_type_name() == "Constant":
            node.input(1).replace_source_output(constant.output(0))
    return model


def _worst(errors: dict[str, float], budget: float) -> list[str]:
    """The layers to keep in float, so that the others' errors, which add as squares, stay within the budget."""
    falling = sorted(errors, key=lambda name: -errors[name])
    kept = 0
    while kept < len(falling) and sum(errors[name] ** 2 for name in falling[kept:]) > budget**2:
        kept += 1
    return falling[:kept]


def _evenly(values: Sequence[Any], count: int) -> list[Any]:
    places = np.unique(np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int))
    return [values[place] for place in places]
