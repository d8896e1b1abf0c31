"""A bundle is enough for another language: the C++ sample reproduces the golden scores."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import openvino
import pytest
from conftest import REPOSITORY

from patchcore_edge_runtime.bundle.bundle import Bundle

OPENVINO = Path(openvino.__file__).parent


@pytest.fixture(scope="module")
def score_golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs a C++ compiler (g++ or clang++), which is not here")
    libraries = sorted((OPENVINO / "libs").glob("libopenvino.so.*"))
    if not (OPENVINO / "include").is_dir() or not libraries:
        pytest.skip("needs OpenVINO's C++ headers and library, which this installation of openvino does not have")
    program = tmp_path_factory.mktemp("cpp") / "score_golden"
    source = REPOSITORY / "samples" / "cpp" / "score_golden.cpp"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-isystem", str(OPENVINO / "include")]
    command = [compiler, *flags, str(source), str(libraries[0]), f"-Wl,-rpath,{OPENVINO / 'libs'}", "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


def test_it_reproduces_the_golden_scores_and_verdicts(score_golden: Path, tiny_bundle: Path) -> None:
    done = subprocess.run([score_golden, tiny_bundle], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = Bundle.load(tiny_bundle).manifest
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [golden.file for golden in manifest.golden]
    for line, golden in zip(lines, manifest.golden, strict=True):
        assert float(line[2]) == pytest.approx(golden.pred_score, rel=golden.tolerance)
        assert line[7] == str(manifest.thresholds.judge(golden.pred_score))


def test_it_notices_a_score_that_is_not_the_expected_one(score_golden: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    document = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    document["golden"][1]["pred_score"] *= 1.01
    (bundle / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
    done = subprocess.run([score_golden, bundle], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["holds", "FAILS", "holds", "holds"]


def test_it_refuses_what_is_no_bundle(score_golden: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"preprocess": [}', encoding="utf-8")
    done = subprocess.run([score_golden, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr.startswith("error: JSON")
