"""What makes a fit lean, as facts of structure: what it imports, how a backbone is traced, how a pool is read."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from conftest import TINY_BACKBONE

from patchcore_edge.fit.embedder import Embedder
from patchcore_edge.fit.feature_store import FeatureFile
from patchcore_edge.gc_paused import gc_paused
from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.errors import CheckpointError


def test_a_fit_imports_nothing_that_only_reports_and_metrics_need() -> None:
    program = "import json, sys, patchcore_edge.jobs.evaluate; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(subprocess.check_output([sys.executable, "-c", program])))
    assert "timm" in loaded
    assert not loaded & {"matplotlib", "sklearn", "scipy", "nncf", "onnx", "onnxruntime"}


def test_a_command_does_not_look_for_garbage_among_what_it_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    frozen: list[bool] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(gc.isenabled()))
    with gc_paused():
        seen.append(gc.isenabled())
    assert (seen, frozen, gc.isenabled()) == ([False], [False], True)


def test_the_backbone_is_traced_once_and_transformed_by_the_compiler_alone(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces: list[Any] = []
    trace = torch.jit.trace

    def counted(*given: Any, **options: Any) -> Any:
        traces.append(given)
        return trace(*given, **options)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the whole converter was called")

    monkeypatch.setattr(torch.jit, "trace", counted)
    monkeypatch.setattr(ov, "convert_model", refuse)
    embed = Embedder(Patchcore(TINY_BACKBONE, ("layer2",), weights=tiny_weights), 60)
    embed(torch.zeros(1, 256, 256, 3, dtype=torch.uint8))
    assert embed.backend == "openvino"
    assert len(traces) == 1


def test_rows_of_a_pool_on_disk_are_read_and_not_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).standard_normal((500, 24)).astype(np.float16)
    rows.tofile(tmp_path / "features.bin")
    monkeypatch.delattr(np, "memmap")
    pool = FeatureFile(tmp_path / "features.bin", 500, 24, "float16")
    places = np.array([499, 0, 7, 7, 250])
    assert np.array_equal(pool[places], rows[places])
    assert np.array_equal(pool[10:13], rows[10:13])
    with pytest.raises(CheckpointError, match="shorter"):
        FeatureFile(tmp_path / "features.bin", 501, 24, "float16")[np.array([500])]
