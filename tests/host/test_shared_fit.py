"""Several processes find what one finds: bank, statistics, thresholds, metrics; and none hangs when another is gone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import shared_jobs
import torch
from conftest import part

from patchcore_edge.runs.checkpoint import load_calibration, load_run

KILLED = """
import os, signal, sys
from patchcore_edge.cli import main
from patchcore_edge.fit.feature_store import FeatureStore

append, victim, deed = FeatureStore.append, *sys.argv[1:3]

def append_or_die(store, images, rows):
    append(store, images, rows)
    if os.environ["RANK"] == victim:
        store.pool()  # what came before is in the file
        os.kill(os.getpid(), signal.Signals[deed])

FeatureStore.append = append_or_die
sys.argv[0:3] = ["patchcore-edge"]
main()
"""
SLOW_DISK = """
import sys, time
from pathlib import Path
from patchcore_edge.fit.distributed.launch import distributed
from patchcore_edge.jobs import calibrate
from patchcore_edge.runs.checkpoint import load_calibration

save = calibrate.save_calibration

def slowly(*given):
    time.sleep(2)
    save(*given)

calibrate.save_calibration = slowly
run, data = map(Path, sys.argv[1:])
with distributed("cpu"):
    found = calibrate.calibrate_run(run, data, 0.1, "cpu")
    assert load_calibration(run).thresholds == found.thresholds
"""
JOBS = Path(shared_jobs.__file__)


def torchrun(size: int, *words: object, program: str = "torch.distributed.run") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", program, "--standalone", "--nproc-per-node", size, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=300,
    )


@pytest.fixture(scope="module")
def data(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data; batches with copies, a file that is none and an odd part; and three images."""
    root = tmp_path_factory.mktemp("shared")
    (root / "discs").symlink_to(tiny_data)
    rng = np.random.default_rng(5)
    images = [part(rng) for _ in range(14)]
    images[9] = part(rng, defect=True)
    for number, image in enumerate(images):
        folder = root / "batches" / f"day {number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number:03d}.png"), image)
    (root / "batches" / "day 0" / "same.png").write_bytes((root / "batches" / "day 0" / "000.png").read_bytes())
    cv2.imwrite(str(root / "batches" / "day 1" / "again.jpg"), images[1])
    whole = (root / "batches" / "day 1" / "001.png").read_bytes()
    (root / "batches" / "day 1" / "torn.png").write_bytes(whole[:-200])
    (root / "three").mkdir()
    for number in range(3):
        cv2.imwrite(str(root / "three" / f"{number}.png"), images[number])
    return root


@pytest.fixture(scope="module")
def alone(data: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    shared_jobs.run(data, str(tiny_weights), out)
    return out


@pytest.fixture(scope="module", params=[2, 3, 4])
def shared(
    request: pytest.FixtureRequest, data: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, Path, str]:
    size = int(request.param)
    out = tmp_path_factory.mktemp(f"by{size}")
    done = torchrun(size, JOBS, data, tiny_weights, out)
    assert done.returncode == 0, done.stderr[-3000:]
    return size, out, done.stdout + done.stderr


def found(out: Path, name: str, rank: int = 0) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((out / f"{name}.{rank}.json").read_text())
    return read


def near(value: Any) -> Any:
    """The same, numbers but for rounding."""
    if isinstance(value, dict):
        return {key: near(one) for key, one in value.items()}
    if isinstance(value, list):
        return [near(one) for one in value]
    return pytest.approx(value, rel=2e-4, abs=1e-6) if isinstance(value, float) else value


@pytest.mark.parametrize("name", ["discs", "batches", "three"])
def test_several_processes_fit_the_bank_that_one_fits(name: str, shared: tuple[int, Path, str], alone: Path) -> None:
    ours, wanted = load_run(shared[1] / name)[0].model, load_run(alone / name)[0].model
    assert ours.memory_bank.shape == wanted.memory_bank.shape
    scale = float(wanted.memory_bank.norm(dim=1).mean())
    assert torch.allclose(ours.memory_bank, wanted.memory_bank, atol=1e-4 * scale)
    assert torch.allclose(ours.space_mean, wanted.space_mean, atol=1e-4)
    assert ours.space_axes.shape == wanted.space_axes.shape
    assert found(shared[1], name)["facts"] == found(alone, name)["facts"]


@pytest.mark.parametrize("name", ["discs", "batches", "three"])
def test_several_processes_find_the_thresholds_and_metrics_that_one_finds(
    name: str, shared: tuple[int, Path, str], alone: Path
) -> None:
    ours, wanted = found(shared[1], name), found(alone, name)
    for what in ("thresholds", "calibration", "evaluation"):
        assert ours.get(what) == near(wanted.get(what)), what
    kept, expected = load_calibration(shared[1] / name), load_calibration(alone / name)
    assert kept is not None
    assert expected is not None
    assert kept.images == near(expected.images)
    assert kept.sanity == expected.sanity
    if expected.unseen_bank:
        files = [out / name / "calibration" / "unseen_bank.safetensors" for out in (shared[1], alone)]
        assert files[0].stat().st_size == files[1].stat().st_size


@pytest.mark.parametrize("name", ["discs", "batches", "three"])
def test_every_process_knows_what_the_first_one_writes(name: str, shared: tuple[int, Path, str]) -> None:
    first = found(shared[1], name)
    for rank in range(1, shared[0]):
        other = found(shared[1], name, rank)
        assert {key: value for key, value in other.items() if key != "said"} == {
            key: value for key, value in first.items() if key != "said"
        }


def test_no_process_goes_on_before_the_thresholds_are_written(data: Path, alone: Path, tmp_path: Path) -> None:
    run, program = tmp_path / "run", tmp_path / "slow_disk.py"
    shutil.copytree(alone / "three", run, ignore=shutil.ignore_patterns("calibration*"))
    program.write_text(SLOW_DISK)
    done = torchrun(2, program, run, data / "three")
    assert done.returncode == 0, done.stderr[-3000:]


def test_copies_batches_and_outliers_are_said_as_by_one_process(shared: tuple[int, Path, str], alone: Path) -> None:
    ours, wanted = found(shared[1], "batches")["said"], found(alone, "batches")["said"]
    same = [line for line in wanted if "of disk" not in line and str(alone) not in line]
    assert any("show" in line and "different parts" in line for line in same)
    assert [line for line in ours if "of disk" not in line and str(shared[1]) not in line] == same
    plan = next(line for line in ours if "of disk" in line)
    assert f"for each of {shared[0]} processes" in plan


def test_a_file_that_cannot_be_read_is_named_by_the_first_process_alone(shared: tuple[int, Path, str]) -> None:
    said = shared[2]
    # By `train`, and by `calibrate`, which knows nothing of the image that was dropped.
    assert said.count("skipped: ") == said.count("torn.png") == 2
    assert said.count("1 of 17 images were skipped.") == said.count("1 of 16 images were skipped.") == 1


def words(data: Path, run: Path, weights: Path) -> list[object]:
    options = ["--backbone", "resnet18", "--layers", "layer2,layer3", "--image-size", 64, "-d", "cpu"]
    return ["train", data / "discs" / "train" / "good", "-o", run, "--weights", weights, *options]


def test_a_killed_process_ends_the_fit_with_one_sentence_and_the_next_call_goes_on(
    data: Path, tiny_weights: Path, alone: Path, tmp_path: Path
) -> None:
    program, run = tmp_path / "killed.py", tmp_path / "run"
    program.write_text(KILLED)
    began = time.monotonic()
    done = torchrun(3, program, 1, "SIGKILL", *words(data, run, tiny_weights))
    assert done.returncode == 1  # torchrun's own
    assert time.monotonic() - began < 120
    ours = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(ours) == 1
    assert ours[0].startswith("error: Process 1 of 3 ended without a word")
    assert "Gloo" not in done.stderr
    assert "rank      : 0 (local_rank: 0)\n  exitcode  : 3" in done.stderr
    assert not run.exists()

    other = torchrun(2, *words(data, run, tiny_weights), program="patchcore_edge.torchrun")
    assert other.returncode == 2
    assert other.stderr.startswith("error: ")
    assert other.stderr.count("\n") == 1
    assert "which 3 processes began" in other.stderr

    again = torchrun(3, "-m", "patchcore_edge", *words(data, run, tiny_weights))
    assert again.returncode == 0, again.stderr
    assert "Going on after" in again.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"run", "killed.py"}


@pytest.mark.slow
def test_a_job_that_torchrun_starts_again_goes_on_by_itself(data: Path, tiny_weights: Path, tmp_path: Path) -> None:
    program, died = tmp_path / "once.py", tmp_path / "died"
    once = f"== victim and not os.path.exists({str(died)!r}):\n        open({str(died)!r}, 'w').close()"
    program.write_text(KILLED.replace("== victim:", once))
    done = torchrun(2, "--max-restarts", 1, program, 1, "SIGKILL", *words(data, tmp_path / "run", tiny_weights))
    assert done.returncode == 0, done.stderr
    assert died.exists()
    assert "Going on after" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"run", "once.py", "died"}


def test_a_command_for_one_process_is_refused_by_several(alone: Path, tmp_path: Path) -> None:
    done = torchrun(2, "-m", "patchcore_edge", "export", alone / "discs", "-o", tmp_path / "bundle")
    ours = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert ours == ["error: `export` is one process's work; call it without torchrun."]
    assert not (tmp_path / "bundle").exists()


def test_an_error_of_any_process_ends_all_with_its_sentence_and_its_code(
    data: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    good = tmp_path / "good"
    good.mkdir()
    for number, path in enumerate(sorted((data / "discs" / "train" / "good").iterdir())):
        (good / f"{number:02d}.png").write_bytes(path.read_bytes())
    # Only who decodes it finds out, and that is the last process.
    (good / "zz.png").write_bytes((good / "00.png").read_bytes()[:-200])
    given = [
        good if word == data / "discs" / "train" / "good" else word
        for word in words(data, tmp_path / "run", tiny_weights)
    ]
    done = torchrun(2, *given, "--strict", program="patchcore_edge.torchrun")
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if "libpng" not in line] == [
        f"error: {good / 'zz.png'} is not an image that can be decoded; take it out or replace it."
    ]


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_fit_in_bounded_time(data: Path, tiny_weights: Path, tmp_path: Path) -> None:
    program = tmp_path / "hangs.py"
    program.write_text(KILLED)
    began = time.monotonic()
    done = torchrun(3, program, 2, "SIGSTOP", *words(data, tmp_path / "run", tiny_weights))
    assert time.monotonic() - began < 240
    ours = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(ours) == 1
    assert ours[0].startswith("error: Process 2 of 3 ended without a word")


@pytest.mark.slow
def test_several_processes_find_the_recipe_that_one_finds(data: Path, tiny_weights: Path, tmp_path: Path) -> None:
    options = ["--backbones", "resnet18", "--weights", tiny_weights, "--sizes", 64, "-d", "cpu"]
    for size, name in ((1, "one"), (3, "three")):
        given = ["tune", data / "discs", "-o", tmp_path / name, *options]
        done = torchrun(size, *given, program="patchcore_edge.torchrun")
        assert done.returncode == 0, done.stderr
    one, three = (json.loads((tmp_path / name / "tune.json").read_text()) for name in ("one", "three"))
    assert len(one["recipes"]) == len(three["recipes"])
    # The best first: what two are worth to the last digit decides their order.
    alone, together = ({json.dumps(found["recipe"]): found for found in all_["recipes"]} for all_ in (one, three))
    assert together.keys() == alone.keys()
    for recipe, ours in together.items():
        for what in ("value", "image_auroc", "located"):
            assert ours[what] == near(alone[recipe][what]), (recipe, what)
    assert not (tmp_path / ".three.tune").exists()
