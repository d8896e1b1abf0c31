"""Half precisions that the exporting CPU is made for go through the gate; what fails there is said and never used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from patchcore_edge_export import graph_builder
from patchcore_edge_export.build import GraphOptions
from patchcore_edge_export.bundle import export_bundle, verify_bundle
from patchcore_edge_export.commands import _print_lower
from patchcore_edge_export.gate import parity
from patchcore_edge_export.gate.limits import LIMITS, limits_name
from patchcore_edge_runtime import Inspector
from patchcore_edge_runtime.bundle.bundle import Bundle
from patchcore_edge_runtime.bundle.lower_precision import LowerName
from patchcore_edge_runtime.bundle.manifest import Manifest
from patchcore_edge_runtime.inspection.openvino_backend import made_for

HERE = [name for name in get_args(LowerName) if name in made_for("CPU")]
no_half = pytest.mark.skipif(not HERE, reason="this CPU computes in float32 alone; see the tests that say so")


@pytest.fixture(scope="module")
def exported(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("half") / "discs"
    return folder, export_bundle(tiny_run, folder, GraphOptions())


def test_the_gate_looks_at_what_the_cpu_is_made_for(exported: tuple[Path, Manifest]) -> None:
    folder, manifest = exported
    assert [lower.name for lower in manifest.lower_precisions] == HERE
    verified = manifest.inference_precisions
    assert verified[-1] == "f32"
    for lower in manifest.lower_precisions:
        assert lower.parity.passed == (not lower.parity.failures) == (lower.name in verified)
        assert lower.parity.score_limit == LIMITS[lower.name].score
        assert lower.parity.images == manifest.parity.images
        assert lower.parity.max_score_deviation > manifest.parity.max_score_deviation
    for golden in Bundle.load(folder).manifest.golden:
        assert {*golden.lower} == {*verified} - {"f32"}
        assert all(lower.score > golden.tolerance for lower in golden.lower.values())
    assert Inspector(folder).inference_precision == verified[0]


def test_it_does_not_look_where_it_is_told_not_to_or_the_cpu_has_none(
    tiny_run: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Bundle.load(tiny_bundle).manifest.lower_precisions == ()
    monkeypatch.setattr(graph_builder, "made_for", lambda _: frozenset({"f32"}))
    manifest = export_bundle(tiny_run, tmp_path / "bundle", GraphOptions())
    assert manifest.inference_precisions == ("f32",)
    assert all(golden.lower == {} for golden in manifest.golden)


@no_half
def test_what_deviates_too_far_is_said_and_not_used(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in HERE:
        monkeypatch.setitem(parity.LIMITS, name, replace(LIMITS[name], score=1e-9))
    manifest = export_bundle(tiny_run, tmp_path / "bundle", GraphOptions())
    assert manifest.parity.passed
    assert manifest.inference_precisions == ("f32",)
    assert all(golden.lower == {} for golden in manifest.golden)
    _print_lower(manifest.lower_precisions[0])
    assert "not used, because a score" in capsys.readouterr().out
    assert Inspector(tmp_path / "bundle").inference_precision == "f32"


@no_half
def test_verify_compares_in_the_precision_that_is_asked_for(tiny_run: Path, tiny_bundle: Path) -> None:
    found = {name: verify_bundle(tiny_bundle, tiny_run, None, "CPU", (), name) for name in ("f32", HERE[0])}
    assert found["f32"].passed
    assert found[HERE[0]].max_score_deviation > 10 * found["f32"].max_score_deviation
    assert found[HERE[0]].score_limit == LIMITS[HERE[0]].score


def test_the_wider_limits_hold() -> None:
    assert limits_name("fp32", "bf16") == "bf16"
    assert limits_name("fp16", "f32") == "fp16"
    assert limits_name("int8", "bf16") == "int8"
    assert LIMITS["fp16"].score < LIMITS["f16"].score < LIMITS["bf16"].score < LIMITS["int8"].score
