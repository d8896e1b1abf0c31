"""How NNCF is asked to quantize or to compress."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import openvino as ov

from patchcore_edge.guest_logging import unchanged_logging
from patchcore_edge_runtime.images.preprocess import Image

from ..progress import Shown
from .backbone import backbone_model, backbone_operations, is_layer, is_transformer, with_backbone_of

__all__ = ["ERROR_BUDGET", "SMOOTHED", "Recipe", "compress_with", "quantize_with"]

ERROR_BUDGET = 0.10
"""Root of the summed squares of the layers' feature errors, relative to how much the features vary."""

SMOOTHED = "nncf_smooth_quant"
"""In the names of the products by which NNCF moves scales from activations into weights."""


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
        smoothing: of transformers, whose activations are large in few channels: how much of that is moved into the
            weights, from 0 to 1 (SmoothQuant's alpha); None for none.
        float_layers: further layers to keep in float, by name.
    """

    budget: float | None = ERROR_BUDGET
    overflow_fix: Literal["all", "first", "none"] = "all"
    float_first: bool = True
    extremes: bool = True
    bias_correction: str | None = None
    float_sums: bool = True
    images: int = 64
    smoothing: float | None = 0.5
    float_layers: tuple[str, ...] = ()


def quantize_with(model: ov.Model, frames: list[Image], kept: Iterable[str], recipe: Recipe) -> ov.Model:
    """A copy whose backbone computes in 8 bits.

    Args:
        model: in float32.
        frames: what to take the ranges of activations from, ``[N,H,W,3]`` uint8 BGR each.
        kept: layers to keep in float.
        recipe: how.
    """
    if is_transformer(model):
        # Smoothing minds no scope: it would scale the bank as well.
        return with_backbone_of(model, _quantized(backbone_model(model), frames, kept, recipe, transformer=True))
    return _quantized(model, frames, kept, recipe)


def _quantized(
    model: ov.Model, frames: list[Image], kept: Iterable[str], recipe: Recipe, *, transformer: bool = False
) -> ov.Model:
    nncf = _nncf()
    from nncf.quantization import advanced_parameters as advanced
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    fixes = advanced.OverflowFix
    parameters = advanced.AdvancedQuantizationParameters(
        overflow_fix={"all": fixes.ENABLE, "first": fixes.FIRST_LAYER, "none": fixes.DISABLE}[recipe.overflow_fix],
        disable_bias_correction=recipe.bias_correction is None,
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX if recipe.extremes else None,
        smooth_quant_alphas=advanced.AdvancedSmoothQuantParameters(
            matmul=-1 if recipe.smoothing is None else recipe.smoothing
        ),
    )
    operations = backbone_operations(model)
    backbone = {node.get_friendly_name() for node in operations}
    plain = {node.get_friendly_name() for node in operations if recipe.float_sums and not is_layer(node)}
    outside = {node.get_friendly_name() for node in model.get_ordered_ops()} - backbone
    ignored = nncf.IgnoredScope(names=sorted(outside | plain | set(kept)), validate=False)
    # Its own progress bars do not say what they are of, and go to stdout, which is for --json.
    with unchanged_logging(), contextlib.redirect_stdout(io.StringIO()):
        return nncf.quantize(
            model.clone(),
            nncf.Dataset(Shown(frames, "8 bits, 1 of 3: what range each layer needs")),
            subset_size=len(frames),
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            fast_bias_correction=recipe.bias_correction != "accurate",
            ignored_scope=ignored,
            advanced_parameters=parameters,
        )


def compress_with(model: ov.Model, kept: Iterable[str]) -> ov.Model:
    """A copy with weights in 8 bits but for the layers named."""
    nncf = _nncf()
    ignored = nncf.IgnoredScope(names=sorted(kept), validate=False)
    with unchanged_logging(), contextlib.redirect_stdout(io.StringIO()):
        return nncf.compress_weights(model.clone(), mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=ignored)


def _nncf() -> Any:
    # Imported by the command that needs it: it takes seconds and brings its own logging.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    with unchanged_logging():
        import nncf

        nncf.set_log_level(logging.ERROR)
    return nncf
