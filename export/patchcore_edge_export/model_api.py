"""A bundle's graph as Intel's Model API wants anomaly models: with the verdict in it.

Model API 0.4 takes one output or four (``pred_score``, ``pred_label``, ``pred_mask``, ``anomaly_map``, the first and
the last on [0, 1]). A bundle's graph has two, raw, because its thresholds may be changed after the export. So this is
a copy, to be written again when they are. Model API leaves the precision to the device: give its adapter
``plugin_config={"INFERENCE_PRECISION_HINT": "f32"}``, or hosts that compute in bf16 score a few percent off.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from patchcore_edge_runtime.atomic_folder import atomic_folder
from patchcore_edge_runtime.bundle.bundle import Bundle
from patchcore_edge_runtime.bundle.model_info import MODEL_KIND
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.verdict import Thresholds

from .convert.openvino import save

__all__ = ["write_model_api"]

_XML = "anomaly.xml"


def write_model_api(bundle: Path, folder: Path) -> Path:
    """Write a copy of a bundle's graph that ``model_api.models.Model.create_model`` opens.

    Images of the model's size get the bundle's scores; others are resized by Model API in its own way.

    Args:
        bundle: bundle folder, of batch 1.
        folder: to write, outside the bundle; an earlier copy there is replaced.

    Returns:
        the IR in it; its weights are beside it.

    Raises:
        BundleError: the bundle is damaged.
        CheckpointError: something else is in ``folder``.
        ConfigError: it scores several images at a time, which Model API does not.
    """
    loaded = Bundle.load(bundle)
    if loaded.manifest.batch != 1:
        raise ConfigError(f"{bundle} scores {loaded.manifest.batch} images at a time; export it with --batch 1.")
    core = ov.Core()
    # Mapped weights would keep an earlier copy from being replaced on Windows.
    core.set_property({"ENABLE_MMAP": False})
    graph = core.read_model(loaded.model_xml)
    results = _results(graph, loaded.manifest.thresholds)
    copy = ov.Model(results, graph.get_parameters(), "anomaly")
    for key, value in MODEL_KIND.items():
        copy.set_rt_info(value, ["model_info", key])
    copy.inputs[0].get_node().set_layout(ov.Layout("NHWC"))
    with atomic_folder(folder, _XML) as fresh:
        save(copy, fresh / _XML, compress_to_fp16=False)
    return folder / _XML


def _results(graph: ov.Model, thresholds: Thresholds) -> list[ov.Output]:
    score, anomaly_map = (graph.output(name).get_node().input_value(0) for name in ("pred_score", "anomaly_map"))
    outputs = {
        "pred_score": _normalized(score, thresholds.image),
        "pred_label": ops.greater(score, np.float32(thresholds.image)),
        "pred_mask": ops.greater(anomaly_map, np.float32(thresholds.pixel)),
        "anomaly_map": _normalized(anomaly_map, thresholds.pixel),
    }
    for output in (score, anomaly_map):
        output.get_tensor().set_names(set())
    results = []
    for name, node in outputs.items():
        node.output(0).get_tensor().set_names({name})
        results.append(ops.result(node))
    return results


def _normalized(raw: ov.Output, threshold: float) -> ov.Node:
    """As ``Thresholds.normalize``: the threshold at one half, twice the threshold and more at one."""
    return ops.clamp(ops.divide(raw, np.float32(2 * threshold)), 0.0, 1.0)
