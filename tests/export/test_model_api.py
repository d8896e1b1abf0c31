"""Intel's Model API opens the copy that is made for it, in an environment of its own: it pins another OpenCV."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from conftest import run_cli

from patchcore_edge_export.model_api import write_model_api
from patchcore_edge_runtime.bundle.bundle import Bundle
from patchcore_edge_runtime.errors import CheckpointError, ConfigError
from patchcore_edge_runtime.verdict import Verdict

SCRIPT = """
import json, sys
import cv2
from model_api.adapters import OpenvinoAdapter, create_core
from model_api.models import Model

config = {"INFERENCE_PRECISION_HINT": "f32"}
model = Model.create_model(OpenvinoAdapter(create_core(), sys.argv[1], plugin_config=config))
for file in sys.argv[2:]:
    result = model(cv2.imread(file))
    print("RESULT", json.dumps([result.pred_score, result.pred_label, list(result.anomaly_map.shape)]))
"""


@pytest.fixture(scope="module")
def copy(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model_api") / "copy"
    done = run_cli("model-api", tiny_bundle, "-o", folder)
    assert done.returncode == 0, done.stderr
    assert str(folder / "anomaly.xml") in done.stdout
    return folder / "anomaly.xml"


def test_the_copy_gives_the_bundles_verdicts_on_its_golden_images(copy: Path, tiny_bundle: Path) -> None:
    bundle = Bundle.load(tiny_bundle)
    thresholds = bundle.manifest.thresholds
    compiled = ov.Core().compile_model(copy, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    seen = set()
    for golden in bundle.manifest.golden:
        answer = compiled(bundle.golden_image(golden)[None])
        assert answer["pred_score"].item() == pytest.approx(thresholds.normalize(golden.pred_score), rel=1e-3)
        assert bool(answer["pred_label"].item()) == (thresholds.judge(golden.pred_score) is Verdict.NG)
        assert np.array_equal(answer["pred_mask"], answer["anomaly_map"] > 0.5)
        seen.add(bool(answer["pred_label"].item()))
    assert seen == {False, True}


def test_a_bundle_for_batches_is_refused_in_a_sentence(fast_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--batch 1"):
        write_model_api(fast_bundle, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_a_copy_replaces_an_earlier_one_and_nothing_else(tiny_bundle: Path, tmp_path: Path) -> None:
    first, second = (write_model_api(tiny_bundle, tmp_path / "copy").read_bytes() for _ in range(2))
    assert first == second
    assert sorted(file.name for file in (tmp_path / "copy").iterdir()) == ["anomaly.bin", "anomaly.xml"]
    before = sorted(tiny_bundle.rglob("*"))
    with pytest.raises(CheckpointError, match=r"has no anomaly\.xml"):
        write_model_api(tiny_bundle, tiny_bundle)
    assert sorted(tiny_bundle.rglob("*")) == before


@pytest.mark.slow
def test_model_api_gives_an_anomaly_result(copy: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "openvino-model-api==0.4.7"], check=True)
    manifest = Bundle.load(tiny_bundle).manifest
    files = [str(tiny_bundle / golden.file) for golden in manifest.golden]
    done = subprocess.run([python, "-c", SCRIPT, copy, *files], check=True, capture_output=True, text=True)
    results = [json.loads(line.split(maxsplit=1)[1]) for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert len(results) == len(files)
    for (score, label, shape), golden in zip(results, manifest.golden, strict=True):
        assert score == pytest.approx(manifest.thresholds.normalize(golden.pred_score), rel=1e-3)
        assert label == str(golden.pred_score > manifest.thresholds.image)
        assert shape == list(manifest.preprocess.input_size)
