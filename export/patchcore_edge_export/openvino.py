"""ONNX → OpenVINO IR, with the keys that Intel's Model API reads."""

from __future__ import annotations

from pathlib import Path

import openvino as ov

from patchcore_edge.telemetry import unchanged_logging
from patchcore_edge_runtime.edit import model_info
from patchcore_edge_runtime.manifest import Labels
from patchcore_edge_runtime.verdict import Thresholds

__all__ = ["convert", "save"]


def convert(onnx_file: Path, xml: Path, thresholds: Thresholds, compress_to_fp16: bool) -> None:
    """Write ``xml`` and the ``.bin`` beside it.

    Args:
        onnx_file: what ``export_onnx`` wrote.
        xml: IR to write.
        thresholds: for ``rt_info/model_info``; the graph itself has none.
        compress_to_fp16: store the weights in half precision.
    """
    with unchanged_logging():
        model = ov.convert_model(str(onnx_file))
    model.inputs[0].get_node().set_layout(ov.Layout("NHWC"))
    for key, value in model_info(thresholds, Labels()).items():
        model.set_rt_info(value, ["model_info", key])
    save(model, xml, compress_to_fp16)


def save(model: ov.Model, xml: Path, compress_to_fp16: bool) -> None:
    """Write an IR whose bytes depend on the model alone.

    OpenVINO names nodes by a counter that runs as long as the process does; here their place in the graph names them.
    """
    for place, node in enumerate(model.get_ordered_ops()):
        # Constants that were computed while converting keep the counted name of what they replaced.
        if node.get_type_name() == "Constant" or node.get_friendly_name() == node.get_name():
            node.set_friendly_name(f"{node.get_type_name()}_{place}")
    ov.save_model(model, str(xml), compress_to_fp16=compress_to_fp16)
