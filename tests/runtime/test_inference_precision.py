"""A line computes in half precision only where its bundle was verified for it and its own self-test confirms it."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import openvino
import pytest
from conftest import good_part

from patchcore_edge_runtime import Inspector
from patchcore_edge_runtime.benchmark import benchmark, describe
from patchcore_edge_runtime.bundle.bundle import MANIFEST, Bundle
from patchcore_edge_runtime.bundle.manifest import manifest_digest
from patchcore_edge_runtime.errors import BundleError, ConfigError, DeviceError, ParityError
from patchcore_edge_runtime.inspection import opened_backend
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend, made_for
from patchcore_edge_runtime.line.config import LineConfig
from patchcore_edge_runtime.line.runner import Line

HERE = "bf16" if "bf16" in made_for("CPU") else "f32"
"""What this machine takes of a bundle that was verified for bf16."""


def verified(source: Path, target: Path, *, passed: bool = True, tolerance: float = 0.5) -> Path:
    """A copy of a bundle that says it was verified for bf16."""
    shutil.copytree(source, target)
    document: dict[str, Any] = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
    document["lower_precisions"] = [{"name": "bf16", "parity": {**document["parity"], "passed": passed}}]
    for golden in document["golden"]:
        golden["lower"] = {"bf16": {"score": tolerance, "map": tolerance}}
    return rewritten(target, document)


def rewritten(bundle: Path, document: dict[str, Any]) -> Path:
    document["digest"] = manifest_digest(document)
    (bundle / MANIFEST).write_text(json.dumps(document), encoding="utf-8")
    return bundle


def test_a_line_takes_what_its_bundle_was_verified_for_and_says_so(
    tiny_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = verified(tiny_bundle, tmp_path / "bundle")
    assert Bundle.load(bundle).manifest.inference_precisions == ("bf16", "f32")
    with caplog.at_level(logging.INFO):
        inspector = Inspector(bundle)
    assert inspector.inference_precision == HERE
    assert f"computed in {HERE} on CPU" in caplog.text
    facts = benchmark(bundle, "CPU", "latency", seconds=0.1)
    assert facts["inference_precision"] == HERE
    assert f"on CPU in {HERE}, hint latency" in describe(facts)
    with Line.open(LineConfig(bundle=bundle, source={"uri": str(bundle / "golden" / "0.png")})) as line:
        assert line.status.snapshot().to_dict()["inference_precision"] == HERE


def test_float32_is_taken_where_it_is_asked_for(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = verified(tiny_bundle, tmp_path / "bundle")
    inspector = Inspector(bundle, inference_precision="f32")
    assert inspector.inference_precision == "f32"
    assert inspector(good_part()).pred_score == Inspector(bundle, inference_precision="f32")(good_part()).pred_score
    assert inspector.golden_deviation < 1e-3


def test_what_the_bundle_was_not_verified_for_is_never_taken(tiny_bundle: Path, tmp_path: Path) -> None:
    refused = verified(tiny_bundle, tmp_path / "refused", passed=False)
    assert Inspector(refused).inference_precision == "f32"
    with pytest.raises(ConfigError, match="verified for f32 and not for bf16; ask for one of those"):
        Inspector(refused, inference_precision="bf16")
    with pytest.raises(ConfigError, match="verified for bf16, f32 and not for f16"):
        Inspector(verified(tiny_bundle, tmp_path / "bundle"), inference_precision="f16")
    with pytest.raises(ConfigError, match="inference_precision is 'half'"):
        Inspector(refused, inference_precision="half")  # type: ignore[arg-type]


def test_a_self_test_that_fails_in_half_precision_leaves_float32_and_a_warning(
    tiny_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = verified(tiny_bundle, tmp_path / "bundle", tolerance=1e-12)
    monkeypatch.setattr(opened_backend, "made_for", lambda _: frozenset({"f32", "bf16"}))
    inspector = Inspector(bundle)
    assert inspector.inference_precision == "f32"
    assert "is not computed in bf16 here: CPU" in caplog.text
    with pytest.raises((ParityError, DeviceError)):
        Inspector(bundle, inference_precision="bf16")


def test_a_device_that_takes_another_precision_than_asked_for_is_found_out(tiny_bundle: Path) -> None:
    graph = tiny_bundle / "model.xml"
    for asked in ("f16", "bf16"):
        compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": asked})
        # A CPU may take one that it is not made for: with AVX-512 alone it computes in bf16, slowly.
        taken = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if taken == asked:
            assert OpenVINOBackend(graph, "CPU", inference_precision=asked).inference_precision == asked
        else:
            assert asked not in made_for("CPU")
            with pytest.raises(DeviceError, match=f"in {taken} when asked for {asked}; leave it at f32"):
                OpenVINOBackend(graph, "CPU", inference_precision=asked)


def test_a_backend_in_a_precision_that_the_golden_images_do_not_know_is_refused(tiny_bundle: Path) -> None:
    class Claiming:
        def __init__(self, inner: OpenVINOBackend) -> None:
            self.images, self.execution_devices, self.infer = inner.images, inner.execution_devices, inner.infer
            self.inference_precision = "f16"

    backend = Claiming(OpenVINOBackend(tiny_bundle / "model.xml", "CPU"))
    with pytest.raises(ParityError, match="not verified for f16"):
        Inspector(tiny_bundle, backend=backend)


def test_small_letters_name_the_same_device(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = verified(tiny_bundle, tmp_path / "bundle")
    assert Inspector(bundle, "cpu").inference_precision == Inspector(bundle, "CPU").inference_precision == HERE


def test_compiled_models_of_two_precisions_do_not_meet(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle, cache = verified(tiny_bundle, tmp_path / "bundle"), tmp_path / "cache"
    scores = {
        (asked, start): Inspector(bundle, cache_dir=cache, inference_precision=asked)(good_part()).pred_score
        for start in range(2)
        for asked in ("f32", HERE)
    }
    for asked in ("f32", HERE):
        assert scores[asked, 0] == scores[asked, 1]
    assert len(list(cache.iterdir())) == len({"f32", HERE})
    if HERE == "bf16":
        assert scores["f32", 0] != scores["bf16", 0]


def test_a_golden_image_without_a_tolerance_for_what_was_verified_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = verified(tiny_bundle, tmp_path / "bundle")
    document = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    del document["golden"][0]["lower"]["bf16"]
    with pytest.raises(BundleError, match="no tolerance for bf16"):
        Bundle.load(rewritten(bundle, document))


def test_a_bundle_of_schema_4_is_computed_in_float32(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    document = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    del document["lower_precisions"]
    for golden in document["golden"]:
        del golden["lower"]
    rewritten(bundle, {**document, "schema_version": 4})
    assert Inspector(bundle).inference_precision == "f32"
