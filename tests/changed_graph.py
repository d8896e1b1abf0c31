"""Bundles whose graph somebody changed who knows how digests are made."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from patchcore_edge_runtime.bundle.bundle import MANIFEST, MODEL_BIN, MODEL_XML, Bundle, file_facts, write_manifest
from patchcore_edge_runtime.bundle.manifest import Manifest
from patchcore_edge_runtime.bundle.model_info import model_info

Change = Callable[[Any, Any, Any], Any]
"""From the score, the map and the frame (OpenVINO's outputs) to the results, or to results, sinks and parameters."""


def with_graph(bundle: Path, folder: Path, change: Change) -> Path:
    """A copy of ``bundle`` in ``folder`` with another graph, all digests right."""
    import openvino as ov

    shutil.copytree(bundle, folder)
    core = ov.Core()
    core.set_property({"ENABLE_MMAP": False})
    model = core.read_model(folder / MODEL_XML)
    frame = model.input("frame").get_node().output(0)
    score, anomaly_map = (model.output(name).get_node().input_value(0) for name in ("pred_score", "anomaly_map"))
    for port in (score, anomaly_map):
        port.get_tensor().set_names(set())
    made = change(score, anomaly_map, frame)
    changed = ov.Model(*made) if isinstance(made, tuple) else ov.Model(made, model.get_parameters(), "changed")
    manifest = Bundle.load(bundle).manifest
    for key, value in model_info(manifest.thresholds, manifest.labels).items():
        changed.set_rt_info(value, ["model_info", key])
    ov.save_model(changed, folder / MODEL_XML, compress_to_fp16=False)
    return signed(folder, manifest)


def signed(folder: Path, manifest: Manifest) -> Path:
    """A bundle folder with this manifest and the digests of the files that are there."""
    files = {**manifest.files, **{name: file_facts(folder / name) for name in (MODEL_XML, MODEL_BIN)}}
    (folder / MANIFEST).unlink(missing_ok=True)
    write_manifest(folder, manifest.model_copy(update={"files": files}))
    return folder


def named(**outputs: Any) -> Sequence[Any]:
    """Results of these names."""
    from openvino import opset13 as ops

    results = []
    for name, output in outputs.items():
        port = output if hasattr(output, "get_tensor") else output.output(0)
        port.get_tensor().set_names({name})
        results.append(ops.result(port))
    return results
