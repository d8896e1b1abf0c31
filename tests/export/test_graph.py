"""An audit of the IR: what makes it fast and right is in its structure, whatever the clock says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import openvino as ov
import pytest

from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.bundle.bundle import MODEL_BIN, MODEL_XML, Bundle
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend

PATCHES = 8 * 8


@pytest.fixture(params=["exact", "fast"])
def bundle(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue("tiny_bundle" if request.param == "exact" else "fast_bundle")
    return path


@pytest.fixture
def graph(bundle: Path) -> ov.Model:
    return ov.Core().read_model(bundle / MODEL_XML)


def _of_type(graph: ov.Model, *types: str) -> Iterator[ov.Node]:
    return (node for node in graph.get_ops() if node.get_type_name() in types)


def _elements(output: ov.Output) -> int:
    return int(np.prod(list(output.get_shape()), dtype=np.int64))


def test_no_index_is_searched_and_no_root_taken_over_the_distance_matrix(
    bundle: Path, graph: ov.Model, fitted: Patchcore
) -> None:
    batch, bank = graph.inputs[0].get_shape()[0], len(fitted.model.memory_bank)
    # A row per image, of its patches or of the bank; of the bank for each refined patch whose candidates are named.
    row, facts = batch * max(PATCHES, bank), Bundle.load(bundle).manifest.search_facts
    named = (facts.refined_patches or 1) if facts.candidates else 1
    searched, roots = [*_of_type(graph, "TopK")], [*_of_type(graph, "Sqrt")]
    assert searched, "the audit looks for names that are not there"
    assert roots, "the audit looks for names that are not there"
    assert all(_elements(node.input(0).get_source_output()) <= row * named for node in searched)
    assert all(_elements(node.input(0).get_source_output()) <= row for node in roots)


def test_all_shapes_are_static(graph: ov.Model) -> None:
    dynamic = [node for node in graph.get_ops() if any(out.get_partial_shape().is_dynamic for out in node.outputs())]
    assert not dynamic
    height, width = graph.inputs[0].get_shape()[1:3]
    assert list(graph.output("anomaly_map").get_shape()) == [graph.inputs[0].get_shape()[0], 1, height, width]
    assert list(graph.output("pred_score").get_shape()) == [graph.inputs[0].get_shape()[0]]


def test_pixels_meet_nothing_but_their_mean_before_the_first_convolution(graph: ov.Model) -> None:
    met, here = [], graph.inputs[0].get_node()
    while here.get_type_name() != "Convolution":
        (following,) = {target.get_node() for target in here.output(0).get_target_inputs()}
        here = following
        met.append(here.get_type_name())
    # The mean is added with its sign turned; scale and channel order are in the weights.
    assert sorted(met) == ["Add", "Convert", "Convolution", "Transpose"]
    assert not [*_of_type(graph, "Divide")]


def test_the_memory_bank_is_stored_once(bundle: Path, graph: ov.Model, fitted: Patchcore) -> None:
    bank = fitted.model.memory_bank
    blobs = [node.attrib for node in ElementTree.parse(bundle / MODEL_XML).getroot().iter("data")]
    shape = ", ".join(str(side) for side in bank.shape)
    assert len({blob["offset"] for blob in blobs if blob.get("shape") == shape}) == 1
    network = sum(t.numel() * t.element_size() for t in fitted.model.feature_extractor.parameters())
    # Beside the bank: ‖y‖², the neighbourhoods, two matrices of the map; for fast search the coarse points in bytes.
    assert (bundle / MODEL_BIN).stat().st_size < network + bank.numel() * 4 * 1.5


def test_coarse_distances_are_integer_products_of_few_vectors_at_a_time(fast_bundle: Path) -> None:
    runtime = OpenVINOBackend(fast_bundle / MODEL_XML, "CPU", "latency").compiled.get_runtime_model()
    precisions = [
        str(node.get_rt_info()["runtimePrecision"].astype(str))
        for node in runtime.get_ops()
        if node.get_rt_info()["layerType"].astype(str) == "FullyConnected"
    ]
    assert any(precision in {"i8", "u8"} for precision in precisions), precisions


def test_a_large_bank_is_compared_in_pieces_that_stay_in_the_cache() -> None:
    import torch

    from patchcore_edge_export.graph.fast_search import FastPlan, FastSearch

    bank = torch.randn(5000, 40, generator=torch.Generator().manual_seed(0))
    search = FastSearch(bank, FastPlan(16, 4, 0.2, 8.0))
    sizes = [len(buffer) for name, buffer in search.points.named_buffers() if name.startswith("points_")]
    assert sum(sizes) == 5000
    assert max(sizes) <= 1024
    few = FastSearch(bank, FastPlan(16, 4, 0.2, 8.0, shortlist=64))
    assert few.points.sizes == [5000], "64 patches by 5,000 points are few distances"


def test_with_a_shortlist_most_patches_meet_an_eighth_of_the_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from patchcore_edge_export.graph.coarse_space import CoarseRows, PointSet
    from patchcore_edge_export.graph.fast_search import FastPlan, FastSearch

    bank, patches = (torch.randn(n, 40, generator=torch.Generator().manual_seed(n)) for n in (4096, 600))
    search = FastSearch(bank, FastPlan(16, 4, 0.2, 8.0, shortlist=150))
    compared: list[tuple[int, int]] = []
    nearest = PointSet.nearest

    def counted(points: PointSet, rows: CoarseRows) -> torch.Tensor:
        compared.append((rows.points.shape[1], len(points)))
        return nearest(points, rows)

    monkeypatch.setattr(PointSet, "nearest", counted)
    search(patches[None] - search.center)
    assert sum(rows * points for rows, points in compared) <= 600 * 4096 * (1 / 8 + 1 / 4)
    assert sum(points for rows, points in compared if rows == 600) <= 4096 / 8


def test_exact_distances_of_few_patches_are_taken_to_few_bank_vectors(tmp_path: Path) -> None:
    import torch

    from patchcore_edge_export.convert.onnx import export_onnx
    from patchcore_edge_export.graph.edge_model import EdgeModel
    from patchcore_edge_export.graph.fast_search import FastPlan

    torch.manual_seed(0)
    size = Patchcore.configure_pre_processor((64, 64))
    model = Patchcore("resnet18", ("layer2", "layer3"), pre_trained=False, pre_processor=size)
    model.model.memory_bank = torch.randn(3000, 384)
    export_onnx(EdgeModel(model, FastPlan(16, 4, 0.2, 8.0, candidates=8)), tmp_path / "model.onnx", 1, (64, 64))
    graph = ov.convert_model(str(tmp_path / "model.onnx"))
    by_floats = [node for node in _of_type(graph, "MatMul") if list(node.input(1).get_shape())[-2:] == [3000, 384]]
    assert not by_floats
    # Four patches by eight candidates: no float distance is taken to anything else.
    fetched = [node for node in _of_type(graph, "Gather") if list(node.get_output_shape(0)) == [1, 4, 8, 384]]
    assert len(fetched) == 1
