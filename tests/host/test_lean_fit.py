"""What makes a fit start fast, as facts of structure: what it imports, and how often a backbone is traced."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import openvino as ov
import pytest
import torch
from conftest import TINY_BACKBONE

from patchcore_edge import cli
from patchcore_edge.embedder import Embedder
from patchcore_edge.models import Patchcore


def test_a_fit_imports_nothing_that_only_reports_and_metrics_need() -> None:
    program = "import json, sys, patchcore_edge.workflow; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(subprocess.check_output([sys.executable, "-c", program])))
    assert "timm" in loaded
    assert not loaded & {"matplotlib", "sklearn", "scipy", "nncf", "onnx", "onnxruntime"}


def test_a_command_does_not_look_for_garbage_among_what_it_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    frozen: list[bool] = []
    monkeypatch.setattr(cli.gc, "freeze", lambda: frozen.append(gc.isenabled()))
    with cli.importing():
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
