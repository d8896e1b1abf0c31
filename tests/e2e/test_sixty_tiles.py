"""A stranger's first hour: sixty photos of good tiles in a plain folder, the README's commands, nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import run_cli

KINDS = ("good", "blowhole", "break", "crack", "fray")
EACH = 6


@pytest.fixture(scope="module")
def photos(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sixty") / "parts"
    folder.mkdir()
    for file in sorted((shared / "data/magnetic_tile/train/good").iterdir())[:60]:
        shutil.copy(file, folder / file.name)
    return folder


@pytest.fixture(scope="module")
def tests(shared: Path, photos: Path) -> Path:
    folder = photos.with_name("new")
    folder.mkdir()
    for kind in KINDS:
        for file in sorted((shared / "data/magnetic_tile/test" / kind).iterdir())[:EACH]:
            shutil.copy(file, folder / f"{kind}_{file.name}")
    return folder


@pytest.fixture(scope="module")
def run(photos: Path) -> Path:
    run = photos.with_name("run")
    done = run_cli("train", photos, "-o", run)
    assert done.returncode == 0, done.stderr
    assert "026.jpg" in done.stdout, "the odd photo is named before anything rests on it"
    done = run_cli("calibrate", run, "--data", photos)
    assert done.returncode == 0, done.stderr
    assert "Most synthetic defects would pass" in done.stdout
    assert "The score of 026.jpg sets it" not in done.stdout
    return run


@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.slow), "int8"])
def test_half_of_the_defects_are_found_and_good_tiles_pass(
    precision: str, run: Path, tests: Path, tmp_path: Path
) -> None:
    bundle, out = tmp_path / "bundle", tmp_path / "out"
    done = run_cli("export", run, "-o", bundle, "--precision", precision)
    assert done.returncode == 0, done.stderr
    done = run_cli("predict", "-m", bundle, "-s", tests, "-o", out, program="patchcore_edge_runtime")
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(records) == EACH * len(KINDS)
    rejected = [Path(record["name"]).name for record in records if record["verdict"] == "NG"]
    assert sum(name.startswith("good") for name in rejected) <= 1
    assert sum(not name.startswith("good") for name in rejected) >= 12
