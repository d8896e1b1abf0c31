"""INT8: the backbone only, on any CPU, with thresholds of its own, and refused when it ranks otherwise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchcore_edge.runs.checkpoint import load_calibration
from patchcore_edge_export import build
from patchcore_edge_export.build import GraphOptions
from patchcore_edge_export.bundle import export_bundle, verify_bundle
from patchcore_edge_export.convert.backbone import backbone_operations
from patchcore_edge_export.convert.quantize import worst_layers
from patchcore_edge_export.gate import parity
from patchcore_edge_export.gate.recalibrate import Pairs, recalibrated
from patchcore_edge_export.planning.plan import Choice, plan_search
from patchcore_edge_runtime import Inspector
from patchcore_edge_runtime.bundle.bundle import Bundle
from patchcore_edge_runtime.errors import ConfigError, ParityError
from patchcore_edge_runtime.verdict import Thresholds


def test_only_the_backbone_is_quantized_and_not_its_first_layer(int8_bundle: Path) -> None:
    model = ov.Core().read_model(int8_bundle / "model.xml")
    backbone = {node.get_friendly_name(): node for node in backbone_operations(model)}
    integers = [node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]
    assert integers
    assert {node.get_friendly_name() for node in integers} <= set(backbone)
    first = next(node for node in backbone.values() if node.get_type_name() == "Convolution")
    assert first.input_value(1).get_element_type() == ov.Type.f32
    assert first.input_value(0).get_node().get_type_name() != "FakeQuantize"
    quantization = Bundle.load(int8_bundle).manifest.quantization
    assert quantization is not None
    assert first.get_friendly_name() in quantization.float_layers
    assert len(quantization.float_layers) < quantization.layers


def test_the_bank_stays_in_float(int8_bundle: Path) -> None:
    facts = Bundle.load(int8_bundle).manifest.model
    model = ov.Core().read_model(int8_bundle / "model.xml")
    shape = [facts.bank_size, facts.embedding_dim]
    banks = [n for n in model.get_ordered_ops() if n.get_type_name() == "Constant" and sorted(n.shape) == sorted(shape)]
    assert [str(bank.get_element_type()) for bank in banks] == ["<Type: 'float32'>"]


SCORES = """
import json, sys
from patchcore_edge_runtime import Inspector
from patchcore_edge_runtime.bundle.bundle import Bundle
inspector = Inspector(sys.argv[1])
print(json.dumps([inspector(inspector.bundle.golden_image(one)).pred_score for one in inspector.manifest.golden]))
"""


def test_a_cpu_without_vnni_scores_the_same(int8_bundle: Path) -> None:
    scores = []
    for isa in ("DEFAULT", "AVX2"):
        environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": isa}
        command = [sys.executable, "-c", SCORES, str(int8_bundle)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        scores.append(json.loads(done.stdout))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-3)


def golden_scores(bundle: Path) -> list[float]:
    inspector = Inspector(bundle, inference_precision="f32")
    return [inspector(inspector.bundle.golden_image(one)).pred_score for one in inspector.manifest.golden]


def test_fast_search_leaves_the_scores_of_int8_as_they_are(int8_bundle: Path, tiny_run: Path, tmp_path: Path) -> None:
    manifest = export_bundle(tiny_run, tmp_path / "fast", GraphOptions(precision="int8", search="fast"))
    exact = Bundle.load(int8_bundle).manifest
    assert (manifest.precision, manifest.search, exact.search) == ("int8", "fast", "exact")
    assert manifest.parity.passed
    assert manifest.quantization is not None
    assert exact.quantization is not None
    assert len(manifest.quantization.float_layers) == len(exact.quantization.float_layers)
    assert manifest.thresholds.image == pytest.approx(exact.thresholds.image, rel=1e-4)
    scores = golden_scores(tmp_path / "fast")
    np.testing.assert_allclose(scores, golden_scores(int8_bundle), rtol=1e-4)
    np.testing.assert_allclose(scores, [one.torch_score for one in manifest.golden], rtol=parity.LIMITS["int8"].score)


def test_int8_takes_fast_search_where_it_pays(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def paying(*arguments: Any) -> Choice:
        assert arguments[3] == parity.LIMITS["fp32"].fast_map, "INT8's wider limit is not for the search"
        return replace(plan_search(*arguments), pays=True)  # the tiny bank is too small for that

    monkeypatch.setattr(build, "plan_search", paying)
    manifest = export_bundle(tiny_run, tmp_path / "auto", GraphOptions(precision="int8", search="auto"))
    assert manifest.search == "fast"
    assert manifest.quantization is not None
    assert manifest.parity.passed
    assert Inspector(tmp_path / "auto", inference_precision="f32").golden_deviation <= 0.01


def test_thresholds_are_found_again_on_the_graphs_own_scores(int8_bundle: Path, tiny_run: Path) -> None:
    manifest = Bundle.load(int8_bundle).manifest
    calibration = load_calibration(tiny_run)
    assert calibration is not None
    assert manifest.torch_thresholds == calibration.thresholds
    assert manifest.thresholds != calibration.thresholds
    info = ov.Core().read_model(int8_bundle / "model.xml").get_rt_info(["model_info", "image_threshold"])
    assert float(info.astype(str)) == manifest.thresholds.image


def test_verify_judges_torch_by_its_own_thresholds(int8_bundle: Path, tiny_run: Path, tiny_data: Path) -> None:
    facts = verify_bundle(int8_bundle, tiny_run, tiny_data, "CPU")
    assert facts.passed
    assert facts.auroc_torch is not None


def test_compressed_weights_make_a_smaller_bundle(tiny_run: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    manifest = export_bundle(tiny_run, tmp_path / "small", GraphOptions(compress_weights=True))
    assert manifest.compressed_weights
    assert manifest.precision == "fp32"
    assert manifest.files["model.bin"].bytes < 0.6 * Bundle.load(tiny_bundle).manifest.files["model.bin"].bytes
    graph = ov.Core().read_model(tmp_path / "small" / "model.xml")
    constants = [node for node in graph.get_ops() if node.get_type_name() == "Constant"]
    sizes = Counter[str]()
    for constant in constants:
        sizes[str(constant.get_element_type())] += int(np.prod(constant.shape))
    assert sizes["<Type: 'int8_t'>"] > 0.9 * sum(sizes.values())


def test_int8_and_compressed_weights_exclude_each_other(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--compress-weights"):
        export_bundle(tiny_run, tmp_path / "both", GraphOptions(precision="int8", compress_weights=True))
    assert list(tmp_path.iterdir()) == []


def test_a_refused_export_writes_nothing_and_force_writes_the_failure(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    strict = parity.Limits(score=0.25, map=0.5, fast_map=0.5, auroc_drop=-0.1, flips=0.05)
    monkeypatch.setitem(parity.LIMITS, "int8", strict)
    with pytest.raises(ParityError, match=r"synthetic defects are told apart less well.*--precision fp16"):
        export_bundle(tiny_run, tmp_path / "bundle", GraphOptions(precision="int8"))
    assert list(tmp_path.iterdir()) == []
    manifest = export_bundle(tiny_run, tmp_path / "bundle", GraphOptions(precision="int8", force=True))
    assert not manifest.parity.passed
    assert "AUROC" in manifest.parity.failures[0]
    assert "--force" in caplog.text


@given(
    errors=st.dictionaries(st.text(min_size=1), st.floats(0, 10), max_size=30),
    budget=st.floats(1e-3, 5, exclude_min=True),
)
def test_the_layers_left_in_integers_keep_within_the_budget(errors: dict[str, float], budget: float) -> None:
    kept = worst_layers(errors, budget)
    rest = [error for name, error in errors.items() if name not in kept]
    assert sum(error**2 for error in rest) <= budget**2
    if kept:  # none is kept in vain: with the mildest of them back, the budget breaks
        assert sum(error**2 for error in rest) + errors[kept[-1]] ** 2 > budget**2
        assert errors[kept[-1]] >= max(rest, default=0)


def pairs(scores: list[float], factor: float) -> Pairs:
    values = np.array(scores)
    return Pairs(values, values * factor, values / 2, values / 2 * factor)


def test_a_threshold_keeps_its_rank_among_held_out_images() -> None:
    known = Pairs(np.array([1.0, 2.0, 3.0]), np.array([1.5, 1.1, 5.0]), np.ones(3), np.full(3, 2.0))
    moved = recalibrated(Thresholds(image=2.001 * 1.0, pixel=1.001), known, [1.0, 2.0, 3.0], pairs([9.0], 1.0))
    assert moved.image == pytest.approx(1.5 * 1.0005)  # the second smallest of the graph's own
    assert moved.pixel == pytest.approx(2.002)


def test_a_threshold_beyond_the_images_is_scaled_as_the_scores_near_it_are() -> None:
    thresholds = Thresholds(image=10.0, pixel=5.0, warn=8.0)
    # The bank knows these images today: they scored higher when the run was calibrated.
    moved = recalibrated(thresholds, pairs([0.1, 0.2], 3.0), [6.0, 7.0], pairs([8.0, 9.0, 11.0, 12.0], 1.1))
    assert moved.image == pytest.approx(11.0)
    assert moved.pixel == pytest.approx(5.5)
    assert moved.warn == pytest.approx(8.8)
