"""Transformers from a file of weights to a bundle: positions baked in, every precision and search, past the gate."""

from __future__ import annotations

from pathlib import Path

import openvino as ov
import pytest
from conftest import transformer_weights

from patchcore_edge.jobs.calibrate import calibrate_run
from patchcore_edge.jobs.train import TrainOptions, train_run
from patchcore_edge.runs.checkpoint import load_run
from patchcore_edge_export.build import GraphOptions
from patchcore_edge_export.bundle import export_bundle
from patchcore_edge_export.convert.backbone import backbone_operations, is_transformer
from patchcore_edge_export.convert.recipe import SMOOTHED
from patchcore_edge_runtime import Inspector
from patchcore_edge_runtime.bundle.bundle import Bundle
from patchcore_edge_runtime.bundle.manifest import Manifest

DINO = "vit_small_patch14_dinov2.lvd142m"


def calibrated_run(
    folder: Path, data: Path, backbone: str, layers: tuple[str, ...], size: tuple[int, int], ratio: float
) -> Path:
    options = TrainOptions(
        backbone=backbone,
        layers=layers,
        coreset_sampling_ratio=ratio,
        num_neighbors=9,
        image_size=size,
        weights=str(transformer_weights(backbone, folder / "weights.safetensors")),
        seed=0,
        device="cpu",
    )
    run = folder / "run"
    train_run(data, run, options)
    calibrate_run(run, data, 0.1, "cpu")
    return run


@pytest.fixture(scope="module")
def run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not square, and not the 160 pixels that it was trained with."""
    return calibrated_run(
        tmp_path_factory.mktemp("vit"), tiny_data, "test_vit", ("blocks.1", "blocks.3"), (96, 128), 0.5
    )


def assert_as_torch(bundle: Path, manifest: Manifest, precision: str) -> None:
    assert manifest.precision == precision
    assert manifest.parity.passed
    assert manifest.parity.auroc_torch is not None
    assert manifest.parity.auroc_torch > 0.9, "the weights are random, but not blind"
    assert Inspector(bundle, inference_precision="f32").golden_deviation <= 0.01
    assert Inspector(bundle).inference_precision == manifest.inference_precisions[0], "it passes the self-test too"


def test_a_run_of_another_size_loads_as_it_was_fitted(run: Path) -> None:
    fitted, facts = load_run(run)
    assert facts.preprocess.input_size == (96, 128)
    assert fitted.model.patch_grid((96, 128)) == (6, 8)
    assert facts.patches == 12 * 6 * 8


@pytest.mark.parametrize(("precision", "search"), [("fp32", "exact"), ("fp16", "fast")])
def test_the_graph_scores_as_torch_and_resamples_nothing(
    precision: str, search: str, run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    options = GraphOptions(precision=precision, search=search, onnx=True)  # type: ignore[arg-type]
    manifest = export_bundle(run, tmp_path / "bundle", options, tiny_data)
    assert manifest.search == search
    assert manifest.parity.onnx is not None
    assert_as_torch(tmp_path / "bundle", manifest, precision)
    model = ov.Core().read_model(tmp_path / "bundle" / "model.xml")
    assert is_transformer(model)
    assert not [node for node in backbone_operations(model) if node.get_type_name() in ("Interpolate", "ShapeOf")]


def test_int8_smooths_the_backbone_alone_and_passes_the_gate(run: Path, tiny_data: Path, tmp_path: Path) -> None:
    manifest = export_bundle(run, tmp_path / "int8", GraphOptions(precision="int8"), tiny_data)
    assert_as_torch(tmp_path / "int8", manifest, "int8")
    assert manifest.quantization is not None
    assert len(manifest.quantization.float_layers) < manifest.quantization.layers / 2

    model = ov.Core().read_model(tmp_path / "int8" / "model.xml")
    backbone = {node.get_friendly_name() for node in backbone_operations(model)}
    changed = [node.get_friendly_name() for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]
    smoothed = [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Multiply" and SMOOTHED in node.get_friendly_name()
    ]
    assert changed
    assert smoothed
    assert {*changed, *smoothed} <= backbone
    facts = Bundle.load(tmp_path / "int8").manifest.model
    (bank,) = [node for node in model.get_ordered_ops() if node.get_friendly_name() == "patchcore/bank"]
    assert sorted(bank.shape) == sorted((facts.bank_size, facts.embedding_dim))
    assert bank.get_element_type() == ov.Type.f32


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("size", [224, 448])
def test_dinov2_small_from_file_to_int8(size: int, tiny_data: Path, tmp_path: Path) -> None:
    ratio = 0.05 if size == 224 else 0.01
    run = calibrated_run(tmp_path, tiny_data, DINO, ("blocks.3", "blocks.5"), (size, size), ratio)
    for precision in ("fp32", "int8"):
        options = GraphOptions(precision=precision, search="exact")  # type: ignore[arg-type]
        manifest = export_bundle(run, tmp_path / precision, options, tiny_data)
        assert_as_torch(tmp_path / precision, manifest, precision)
