"""Half precision is for the backbone: what is computed from its features stays in float32, as the IR's marks say."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import openvino as ov
import pytest

from patchcore_edge_export.convert.backbone import backbone_operations
from patchcore_edge_runtime.bundle.bundle import MODEL_XML
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend, made_for

LAYERS = {
    "Convolution",
    "FullyConnected",
    "MatMul",
    "Pooling",
    "Interpolate",
    "Reduce",
    "TopK",
    "ScatterElementsUpdate",
}
"""What computes something, in the words of OpenVINO's CPU."""


def marked(bundle: Path) -> set[str]:
    layers = ElementTree.parse(bundle / MODEL_XML).getroot().findall("layers/layer")
    return {str(layer.get("name")) for layer in layers if layer.find("rt_info/attribute[@name='precise']") is not None}


@pytest.fixture(params=["tiny_bundle", "fast_bundle", "int8_bundle"])
def bundle(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


def test_the_search_is_marked_and_the_backbone_is_not(bundle: Path) -> None:
    model = ov.Core().read_model(bundle / MODEL_XML)
    backbone = {node.get_friendly_name() for node in backbone_operations(model)}
    names = marked(bundle)
    assert not names & backbone
    behind = {
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() in {"MatMul", "AvgPool", "Interpolate", "Sqrt", "ReduceMax"}
    } - backbone
    assert behind
    assert behind <= names


def test_in_bf16_the_backbone_runs_in_bf16_and_the_search_in_float32(bundle: Path) -> None:
    if "bf16" not in made_for("CPU"):
        pytest.skip("This CPU does not compute in bf16; what is marked is tested above.")
    backend = OpenVINOBackend(bundle / MODEL_XML, "CPU", "latency", inference_precision="bf16")
    backbone = {node.get_friendly_name() for node in backbone_operations(ov.Core().read_model(bundle / MODEL_XML))}
    names, precisions = marked(bundle), {"backbone": set[str](), "search": set[str]()}
    for node in backend.compiled.get_runtime_model().get_ordered_ops():
        facts = {key: value.astype(str) for key, value in node.get_rt_info().items()}
        origins = {name.removesuffix("/DequantizationMultiply") for name in facts["originalLayersNames"].split(",")}
        if facts["layerType"] in LAYERS:
            for place, known in (("backbone", backbone), ("search", names)):
                if origins & known:
                    precisions[place].add(facts["runtimePrecision"])
    # Estimates of fast search are products of integers, whatever else is asked for.
    assert precisions["search"] <= {"f32", "i8", "u8"}
    assert "f32" in precisions["search"]
    assert "bf16" in precisions["backbone"]
