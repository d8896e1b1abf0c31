"""ONNX → OpenVINO IR, with the keys that Intel's Model API reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13

from patchcore_edge.guest_logging import unchanged_logging
from patchcore_edge_runtime.bundle.manifest import Labels
from patchcore_edge_runtime.bundle.model_info import model_info
from patchcore_edge_runtime.verdict import Thresholds

from .float_marks import mark_search, search_operations, use_lasting_operations
from .names import PREFIX, name_constants

__all__ = ["convert", "save", "with_model_info"]

_HALVED_FROM = 1 << 18
"""Numbers in a matrix or a convolution: nine tenths of the bytes of a ResNet-18 with its bank are in such."""


def convert(onnx_file: Path, xml: Path, thresholds: Thresholds, compress_to_fp16: bool) -> None:
    """Write ``xml`` and the ``.bin`` beside it.

    Args:
        onnx_file: what ``export_onnx`` wrote.
        xml: IR to write.
        thresholds: for ``rt_info/model_info``; the graph itself has none.
        compress_to_fp16: store large weights in half precision.
    """
    with unchanged_logging():
        model = ov.convert_model(str(onnx_file))
    name_constants(model)
    save(with_model_info(model, thresholds), xml, compress_to_fp16)


def with_model_info(model: ov.Model, thresholds: Thresholds) -> ov.Model:
    """The same graph, its input's layout said and thresholds in ``rt_info/model_info``."""
    model.inputs[0].get_node().set_layout(ov.Layout("NHWC"))
    for key, value in model_info(thresholds, Labels()).items():
        model.set_rt_info(value, ["model_info", key])
    return model


def save(model: ov.Model, xml: Path, compress_to_fp16: bool) -> None:
    """Write an IR whose bytes depend on the model alone.

    OpenVINO names nodes by a counter that runs as long as the process does; here their place in the graph names them,
    but for the constants that ``name_constants`` named. The search is marked to stay in float32; see ``float_marks``.
    """
    use_lasting_operations(model)
    for place, node in enumerate(model.get_ordered_ops()):
        name = node.get_friendly_name()
        # Constants that were computed while converting keep the counted name of what they replaced.
        if (node.get_type_name() == "Constant" and not name.startswith(PREFIX)) or name == node.get_name():
            node.set_friendly_name(f"{node.get_type_name()}_{place}")
    if compress_to_fp16:
        _halve(model)
    kept = search_operations(model)
    ov.save_model(model, str(xml), compress_to_fp16=False)
    mark_search(xml, kept)


def _halve(model: ov.Model) -> None:
    """Store large weights in half precision; biases, norms and small weights keep their digits.

    OpenVINO's own way halves all of them, ‖y‖² and the first convolutions too, whose rounding harms and whose bytes are
    few: scores deviate five times as much. And none where some are in 8 bits, as fast search's points are.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant" and node.get_element_type() == ov.Type.f32 and _is_large(node):
            half = opset13.constant(node.data.astype(np.float16))
            half.set_friendly_name(node.get_friendly_name())
            halved = opset13.convert(half, "f32")
            halved.set_friendly_name(f"{node.get_friendly_name()}/float")
            for target in list(node.output(0).get_target_inputs()):
                target.replace_source_output(halved.output(0))


def _is_large(constant: Any) -> bool:
    sides = [side for side in constant.get_output_shape(0) if side > 1]
    return len(sides) > 1 and int(np.prod(sides)) >= _HALVED_FROM
