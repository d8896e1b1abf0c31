"""A plain folder of good images: the bank holds them all, and the gate judges on a bank that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from conftest import TINY_SIZE
from export.plain import plain_run
from openvino import opset13 as ops

from patchcore_edge.jobs.train import TrainOptions
from patchcore_edge.runs.checkpoint import calibration_images, load_calibration, load_run, unseen_model
from patchcore_edge_export import graph_builder
from patchcore_edge_export.build import GraphOptions
from patchcore_edge_export.bundle import export_bundle, verify_bundle
from patchcore_edge_export.convert.backbone import pools, with_backbone_of
from patchcore_edge_export.convert.lowering import Lowering
from patchcore_edge_runtime import Inspector
from patchcore_edge_runtime.bundle.manifest import Manifest
from patchcore_edge_runtime.errors import ParityError

CASES = [
    GraphOptions(),
    GraphOptions(precision="fp16", search="fast"),
    pytest.param(GraphOptions(precision="int8"), marks=pytest.mark.slow),
    GraphOptions(precision="int8", search="fast", batch=2),
    GraphOptions(precision="fp16", compress_weights=True),
]


@pytest.fixture(scope="module")
def run(tiny_data: Path, tiny_options: TrainOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = replace(tiny_options, coreset_sampling_ratio=0.1)
    files = sorted((tiny_data / "train/good").iterdir()) + sorted((tiny_data / "validation/good").iterdir())
    return plain_run(files, tmp_path_factory.mktemp("plain"), options)


def _check(manifest: Manifest, bundle: Path, run: Path) -> None:
    """What a good export of such a run is."""
    assert manifest.parity.passed, manifest.parity.failures
    assert manifest.parity.seen is not None
    assert manifest.parity.unseen > manifest.parity.synthetic / 2
    assert Inspector(bundle).golden_deviation <= 0.5
    facts = verify_bundle(bundle, run, None, "CPU")
    assert facts.passed, facts.failures
    assert facts.unseen > 0
    assert facts.seen is not None


@pytest.mark.parametrize("options", CASES, ids=lambda o: f"{o.precision}-{o.search}-{o.batch}-{o.compress_weights}")
def test_every_precision_and_search_exports_and_verifies(options: GraphOptions, run: Path, tmp_path: Path) -> None:
    manifest = export_bundle(run, tmp_path / "bundle", options)
    assert manifest.precision == options.precision
    assert manifest.search == options.search
    _check(manifest, tmp_path / "bundle", run)


def test_the_bank_that_judges_holds_no_patch_of_the_kept_images(run: Path) -> None:
    """The trap: the run's own bank holds some, and at distance zero rounding is all there is."""
    fitted, _ = load_run(run)
    calibration = load_calibration(run)
    assert calibration is not None
    judge = unseen_model(run, fitted, calibration)
    nearest = {fitted: [], judge: []}
    for name, image in calibration_images(run, calibration).items():
        frame = torch.from_numpy(image)[None]
        assert float(judge(frame).pred_score[0]) == pytest.approx(calibration.images[name], rel=1e-4)
        for model, found in nearest.items():
            with torch.inference_mode():
                patches = model.model.reshape_embedding(model.model.embed(model.pre_processor(frame)))
                found.append(float(model.model.nearest_neighbors(patches, 1)[0].min()))
    assert min(nearest[fitted]) < 1e-4 < min(nearest[judge])


def test_golden_images_of_such_a_run_score_above_what_rounding_decides(run: Path, tmp_path: Path) -> None:
    manifest = export_bundle(run, tmp_path / "bundle", GraphOptions())
    fitted, _ = load_run(run)
    calibration = load_calibration(run)
    assert calibration is not None
    images = calibration_images(run, calibration).values()
    largest = max(float(fitted(torch.from_numpy(image)[None]).pred_score[0]) for image in images)
    assert {golden.origin for golden in manifest.golden} == {"synthetic"}
    assert all(golden.pred_score > largest for golden in manifest.golden)
    assert all(golden.pred_score > manifest.thresholds.image / 3 for golden in manifest.golden)


def after_pooling(model: ov.Model, change: Callable[[ov.Output], ov.Node]) -> ov.Model:
    """The graph with its pooled features changed."""
    model = model.clone()
    for pool in pools(model):
        targets = list(pool.output(0).get_target_inputs())
        changed = change(pool.output(0))
        for target in targets:
            target.replace_source_output(changed.output(0))
    return model


def scaled(features: ov.Output) -> ov.Node:
    """Each channel by a factor of its own."""
    factors = np.random.default_rng(0).uniform(0.3, 1.7, (1, features.get_shape()[1], 1, 1))
    return ops.multiply(features, factors.astype(np.float32))


def clipped(features: ov.Output) -> ov.Node:
    """As a range that was found on too little: what is rare is cut."""
    return ops.clamp(features, -1e9, 0.2)


@pytest.mark.parametrize("ruin", [scaled, clipped])
def test_a_ruined_int8_backbone_is_refused(
    ruin: Callable[[ov.Output], ov.Node], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ruined(Lowering):
        def __call__(self, model: ov.Model) -> ov.Model:
            return after_pooling(super().__call__(model), ruin)

    monkeypatch.setattr(graph_builder, "Lowering", Ruined)
    with pytest.raises(ParityError, match="--precision fp16"):
        export_bundle(run, tmp_path / "bundle", GraphOptions(precision="int8"))
    assert list(tmp_path.iterdir()) == []


def test_a_graph_with_another_bank_is_refused_though_its_stand_in_is_right(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that goes into the bundle is what is loaded and compared, not only what it was made like."""
    written: list[Path] = []
    convert: Any = graph_builder.convert

    def lame(onnx_file: Path, xml: Path, *arguments: Any, **options: Any) -> None:
        convert(onnx_file, xml, *arguments, **options)
        if not written:
            core = ov.Core()
            core.set_property({"ENABLE_MMAP": False})
            ov.save_model(after_pooling(core.read_model(xml), scaled), xml, compress_to_fp16=False)
        written.append(xml)

    monkeypatch.setattr(graph_builder, "convert", lame)
    with pytest.raises(ParityError, match="a training image's score"):
        export_bundle(run, tmp_path / "bundle", GraphOptions())
    assert [xml.name for xml in written] == ["model.xml", "unseen.xml"]


def test_a_backbone_is_exchanged_and_the_search_stays(run: Path, tmp_path: Path) -> None:
    for name, precision in (("one", "fp32"), ("other", "int8")):
        export_bundle(run, tmp_path / name, GraphOptions(precision=precision))  # type: ignore[arg-type]
    core = ov.Core()
    one, other = (core.read_model(tmp_path / name / "model.xml") for name in ("one", "other"))
    both = core.compile_model(with_backbone_of(one, other), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    frame = np.random.default_rng(0).integers(0, 256, (1, TINY_SIZE, TINY_SIZE, 3), np.uint8)
    wanted = core.compile_model(other, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(frame)
    for name in ("pred_score", "anomaly_map"):
        np.testing.assert_allclose(both(frame)[name], wanted[name], rtol=1e-4)
    names = [node.get_friendly_name() for node in with_backbone_of(one, other).get_ordered_ops()]
    assert len(set(names)) == len(names)
