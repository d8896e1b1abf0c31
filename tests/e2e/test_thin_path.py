"""Good images in, a verified bundle out, frames judged: each step as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import TINY_BACKBONE, spawn_cli


def test_train_calibrate_eval_export_verify_and_run(tiny_data: Path, tiny_weights: Path, tmp_path: Path) -> None:
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    options = ("--backbone", TINY_BACKBONE, "--layers", "layer2,layer3", "--weights", tiny_weights, "--image-size", 64)
    for words in (
        ("train", tiny_data, "-o", run, "--coreset-sampling-ratio", 0.25, *options),
        ("calibrate", run, "--data", tiny_data, "--target-fpr", 0.1),
        ("export", run, "-o", bundle, "--precision", "fp32"),
        ("verify", bundle, "--run", run, "--data", tiny_data, "-d", "CPU"),
    ):
        done = spawn_cli(*words)
        assert done.returncode == 0, done.stderr

    evaluation = json.loads(spawn_cli("eval", run, "--data", tiny_data, "--json").stdout)
    assert evaluation["image_auroc"] == 1.0
    assert (run / "report.html").is_file()

    results = tmp_path / "results.jsonl"
    source = tiny_data / "test" / "scratch"
    words = ("run", "-m", bundle, "-s", source, "--results", results, "--json")
    done = spawn_cli(*words, program="patchcore_edge_runtime")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdicts"] == {"OK": 0, "WARN": 0, "NG": 6, "ERROR": 0}
    assert [json.loads(line)["verdict"] for line in results.read_text().splitlines()] == ["NG"] * 6
