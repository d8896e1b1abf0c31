"""What was tried for INT8 and is not in the export: another bank, and NNCF's own choice of layers."""

from __future__ import annotations

import contextlib
import copy
import logging
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray

from patchcore_edge.data.evenly_spaced import evenly_chosen
from patchcore_edge.guest_logging import unchanged_logging
from patchcore_edge.models import Patchcore
from patchcore_edge_export.convert.backbone import backbone_model
from patchcore_edge_export.convert.recipe import ERROR_BUDGET, Recipe

from .held_out import Fitted

__all__ = ["controlled_recipe", "with_bank_of"]

VALIDATION_IMAGES = 12
_SAME = 1e-3
_LAYERS = ("Convolution", "GroupConvolution", "MatMul")
_CONFIG = {"INFERENCE_PRECISION_HINT": "f32"}

_Features = list[NDArray[np.float32]]


def with_bank_of(fitted: Fitted, graph: ov.Model, lowered: ov.Model) -> Patchcore:
    """A copy of the model whose bank has the coreset's patches as the ``lowered`` backbone sees them.

    Raises:
        RuntimeError: ``graph``'s own backbone, in float, does not give the bank that was fitted.
    """
    bank = fitted.model.model.memory_bank
    again = _bank(fitted, graph)
    if not float((again - bank).norm()) <= _SAME * float(bank.norm()):
        raise RuntimeError("The coreset's rows are not those of the training images in their order.")
    model = copy.deepcopy(fitted.model)
    model.model.memory_bank = _bank(fitted, lowered)
    return model


def _bank(fitted: Fitted, graph: ov.Model) -> torch.Tensor:
    """``[M, D]`` the coreset's patches, embedded by a graph's backbone."""
    compiled = ov.Core().compile_model(backbone_model(graph), "CPU", _CONFIG)
    model = fitted.model
    patches = model.pool_size // len(fitted.train)
    images, places = np.divmod(np.array(model.coreset_rows), patches)
    bank = torch.empty_like(model.model.memory_bank)
    for image in np.unique(images):
        # The layers' features come in the graph's order; the first layer has the finest grid.
        features = sorted(_features(compiled, fitted.train.image(int(image))), key=lambda one: -one.shape[2])
        pooled = {name: torch.from_numpy(one) for name, one in zip(model.model.layers, features, strict=True)}
        rows = model.model.reshape_embedding(model.model.generate_embedding(pooled))
        bank[images == image] = rows[places[images == image]]
    return bank


def controlled_recipe(graph: ov.Model, samples: Sequence[Any]) -> Recipe:
    """Layers to keep in float as NNCF's accuracy control finds them.

    It gets what the export's own search has: only layers with weights, the first one in float, ranges from extremes,
    half the range of weights; and the error of the features on training images as what must not rise above the budget.
    """
    backbone = backbone_model(graph)
    layers = [node for node in backbone.get_ordered_ops() if node.get_type_name() in _LAYERS]
    first = layers[0].get_friendly_name()
    frames = [image[None] for image in evenly_chosen(samples, VALIDATION_IMAGES)]
    wanted = _stacked(ov.Core().compile_model(backbone, "CPU", _CONFIG), frames)

    def validate(compiled: Any, data: Iterable[NDArray[np.uint8]]) -> tuple[float, None]:
        return 1 - _error(wanted, _stacked(compiled, data)), None

    done = _controlled(
        backbone, [image[None] for image in evenly_chosen(samples, Recipe.images)], frames, validate, first
    )
    kept = [
        node.get_friendly_name()
        for node in done.get_ordered_ops()
        if node.get_type_name() in _LAYERS and node.input_value(0).get_node().get_type_name() != "FakeQuantize"
    ]
    return Recipe(budget=None, float_layers=tuple(name for name in kept if name != first))


def _controlled(backbone: ov.Model, images: list[Any], frames: list[Any], validate: Any, first: str) -> ov.Model:
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    with unchanged_logging():
        import nncf
        from nncf.quantization import advanced_parameters as advanced
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet

        nncf.set_log_level(logging.ERROR)
    plain = [node.get_friendly_name() for node in backbone.get_ordered_ops() if node.get_type_name() not in _LAYERS]
    with unchanged_logging(), contextlib.redirect_stdout(sys.stderr):
        return nncf.quantize_with_accuracy_control(
            backbone,
            nncf.Dataset(images),
            nncf.Dataset(frames),
            validate,
            max_drop=ERROR_BUDGET,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=sorted({*plain, first}), validate=False),
            advanced_quantization_parameters=advanced.AdvancedQuantizationParameters(
                overflow_fix=advanced.OverflowFix.ENABLE,
                disable_bias_correction=True,
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            ),
            advanced_accuracy_restorer_parameters=advanced.AdvancedAccuracyRestorerParameters(
                ranking_subset_size=len(frames)
            ),
        )


def _features(compiled: Any, image: NDArray[np.uint8]) -> _Features:
    return [value.copy() for value in compiled(image.reshape(1, *image.shape[-3:])).values()]


def _stacked(compiled: Any, frames: Iterable[NDArray[np.uint8]]) -> _Features:
    return [np.concatenate(layer) for layer in zip(*(_features(compiled, frame) for frame in frames), strict=True)]


def _error(wanted: _Features, got: _Features) -> float:
    """As ``quantize`` measures it: of the worst layer, relative to the deviation from the channels' means."""
    pairs = zip(wanted, got, strict=True)
    return max(float(np.linalg.norm(b - a) / np.linalg.norm(a - a.mean((0, 2, 3), keepdims=True))) for a, b in pairs)
