"""The list of operations that a bundle's graph may have: all that exports use, and nothing that none of them does."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import openvino as ov
import pytest
import timm
import torch

from patchcore_edge.models import Patchcore
from patchcore_edge_export.convert.onnx import export_onnx
from patchcore_edge_export.convert.openvino import convert
from patchcore_edge_export.graph.edge_model import EdgeModel
from patchcore_edge_export.graph.fast_search import FastPlan
from patchcore_edge_runtime.bundle.graph_operations import OF_NETWORKS, OF_THE_SEARCH, OPERATIONS, check_operations
from patchcore_edge_runtime.bundle.ir import read_ir
from patchcore_edge_runtime.inspection.graph_indices import check_indices
from patchcore_edge_runtime.inspection.graph_memory import peak_memory
from patchcore_edge_runtime.verdict import Thresholds

BY_NETWORK = {
    name: {operation for operation, _ in pairs}
    for name, pairs in groupby(sorted(OF_NETWORKS.items(), key=lambda pair: pair[1]), key=lambda pair: pair[1])
}


def operations(xml: Path) -> set[str]:
    core = ov.Core()
    core.set_property({"ENABLE_MMAP": False})
    return {node.get_type_name() for node in core.read_model(xml).get_ordered_ops()}


def exported(model: Patchcore, size: tuple[int, int], folder: Path, plan: FastPlan | None = None) -> Path:
    export_onnx(EdgeModel(model, plan), folder / "model.onnx", 1, size)
    xml = folder / "model.xml"
    convert(folder / "model.onnx", xml, Thresholds(image=1, pixel=1), compress_to_fp16=False)
    return xml


def test_every_operation_of_the_search_is_in_some_export(
    tiny_bundle: Path, fast_bundle: Path, int8_bundle: Path, fitted: Patchcore, tmp_path: Path
) -> None:
    """Exact and fast search, the latter also as large banks have it, floats and INT8; the network is a ResNet-18."""
    large = FastPlan(16, 4, 0.2, 8.0, shortlist=8, candidates=16)
    files = [bundle / "model.xml" for bundle in (tiny_bundle, fast_bundle, int8_bundle)]
    files.append(exported(fitted, fitted.pre_processor.spec.input_size, tmp_path, large))
    for xml in files:
        check_indices(ov.Core().read_model(xml), xml.name)
    found = set[str]().union(*(operations(xml) for xml in files))
    assert found <= OPERATIONS
    assert found - OF_NETWORKS.keys() == OF_THE_SEARCH
    assert found >= BY_NETWORK["resnet18"]


def test_a_file_is_read_as_openvino_reads_it(tiny_bundle: Path) -> None:
    """By other names in part, which the check knows."""
    check_operations(read_ir(tiny_bundle / "model.xml").operations, "model.xml")


@pytest.mark.slow
@pytest.mark.parametrize("network", sorted(BY_NETWORK.keys() - {"resnet18"}))
def test_every_other_operation_is_in_the_export_of_a_network(network: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    described = timm.get_pretrained_cfg(network)
    size = described.input_size[1:] if described is not None and described.fixed_input_size else (128, 128)
    layers = timm.create_model(network, pretrained=False, features_only=True).feature_info.module_name()[1:3]
    pre_processor = Patchcore.configure_pre_processor(image_size=size)
    model = Patchcore(backbone=network, layers=layers, pre_trained=False, pre_processor=pre_processor).eval()
    frames = torch.randint(0, 255, (1, *size, 3), dtype=torch.uint8)
    with torch.inference_mode():
        patches = model.model.reshape_embedding(model.model.embed(model.pre_processor(frames)))
    model.model.memory_bank = patches[:24].clone()
    xml = exported(model, size, tmp_path)
    found = operations(xml)
    graph = ov.Core().read_model(xml)
    check_indices(graph, xml.name)
    assert peak_memory(graph, xml.name) > xml.with_suffix(".bin").stat().st_size
    assert found <= OPERATIONS
    assert BY_NETWORK[network] <= found
