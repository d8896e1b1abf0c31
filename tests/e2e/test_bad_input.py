"""Wrong input: one sentence that says what to do, the exit code of the design, nothing half-written."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import run_cli
from refusals import RUNTIME, nothing_but, refused, train_words


@pytest.fixture
def good_folder(tiny_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_data / "train" / "good", tmp_path / "good"))


def test_a_missing_folder(tmp_path: Path, tiny_weights: Path) -> None:
    line = refused(2, train_words(tmp_path / "nowhere", tmp_path / "run", tiny_weights))
    assert "nowhere" in line
    assert nothing_but(tmp_path)


def test_a_folder_without_images(tmp_path: Path, tiny_weights: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no images" in refused(2, train_words(tmp_path / "empty", tmp_path / "run", tiny_weights))
    assert nothing_but(tmp_path, "empty")


def test_an_unreadable_image_when_all_must_be_read(good_folder: Path, tmp_path: Path, tiny_weights: Path) -> None:
    (good_folder / "broken.png").write_bytes(b"\x89PNG but not for long")
    words = (*train_words(good_folder, tmp_path / "run", tiny_weights), "--strict")
    assert "broken.png" in refused(2, words)
    assert nothing_but(tmp_path, "good")


def test_an_image_smaller_than_8_pixels(good_folder: Path, tmp_path: Path, tiny_weights: Path) -> None:
    cv2.imwrite(str(good_folder / "dot.png"), np.zeros((7, 20, 3), np.uint8))
    line = refused(2, (*train_words(good_folder, tmp_path / "run", tiny_weights), "--strict"))
    assert "dot.png" in line
    assert "8" in line
    assert nothing_but(tmp_path, "good")


@pytest.mark.parametrize("command", ["calibrate", "eval"])
def test_a_run_that_is_no_checkpoint(command: str, tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert "no checkpoint" in refused(2, (command, tmp_path / "run", "--data", tiny_data))
    assert nothing_but(tmp_path / "run")


def test_a_report_that_cannot_be_written_leaves_nothing(tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place, reason in ((tmp_path, "is a folder"), (tmp_path / "file" / "report.html", "cannot be written")):
        assert reason in refused(2, ("eval", tiny_run, "--data", tiny_data, "--report", place))
    assert nothing_but(tmp_path, "file")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("command", "moment"),
    [
        ("train", "patchcore_edge.runs.checkpoint.write_image"),
        ("train", "patchcore_edge.runs.checkpoint.save_file"),
        ("train", "patchcore_edge.jobs.fitting.find_outliers"),
        ("calibrate", "patchcore_edge.runs.checkpoint.write_image"),
        ("eval", "patchcore_edge.reporting.page.encode_image"),
        ("export", "patchcore_edge_export.bundle.write_golden"),
    ],
)
def test_ctrl_c_leaves_what_was_there_and_nothing_half_written(
    command: str,
    moment: str,
    tiny_run: Path,
    tiny_data: Path,
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ctrl_c(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    before = contents(tmp_path)
    words = {
        "train": train_words(tiny_data, run, tiny_weights),
        "calibrate": ("calibrate", run, "--data", tiny_data),
        "eval": ("eval", run, "--data", tiny_data),
        "export": ("export", run, "-o", tmp_path / "bundle"),
    }
    monkeypatch.setattr(moment, ctrl_c)
    done = run_cli(*words[command])
    assert (done.returncode, done.stderr.splitlines()[-1]) == (130, "stopped.")
    # What a fit has extracted stays for the next one.
    after = {name: data for name, data in contents(tmp_path).items() if not name.startswith(".run.features")}
    assert after == before


SLOW_IMPORT = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit(0)\n"
"""In place of a library that the commands load: Ctrl-C comes while it is imported."""


@pytest.mark.skipif(sys.platform == "win32", reason="another process's Ctrl-C cannot be made there")
@pytest.mark.parametrize("package", ["patchcore_edge", "patchcore_edge_runtime"])
@pytest.mark.parametrize("library", ["typer", "pydantic"])
def test_ctrl_c_while_a_command_is_loaded_is_one_word_and_not_a_traceback(
    library: str, package: str, tmp_path: Path
) -> None:
    (tmp_path / f"{library}.py").write_text(SLOW_IMPORT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    for listens, expected in ((True, (130, "stopped.\n")), (False, (0, ""))):
        done = subprocess.run(
            [sys.executable, "-m", package, "--version"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            # What a shell does for a process that it starts with ``&``.
            preexec_fn=None if listens else lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        )
        assert (done.returncode, done.stderr) == expected, done.stderr


def test_data_that_cannot_be_evaluated_or_a_rate_that_is_none(tiny_run: Path, tmp_path: Path) -> None:
    assert "There is no folder" in refused(2, ("eval", tiny_run, "--data", tmp_path / "nowhere"))
    assert "no test images" in refused(2, ("eval", tiny_run, "--data", tmp_path))
    # Said before any image is scored, or the folder would be the first to complain.
    line = refused(2, ("calibrate", tiny_run, "--data", tmp_path / "nowhere", "--target-fpr", 5))
    assert "between 0 and 1" in line


def test_an_export_of_what_is_no_checkpoint_or_not_calibrated(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no checkpoint" in refused(2, ("export", tmp_path / "empty", "-o", tmp_path / "bundle"))
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    shutil.rmtree(run / "calibration")
    assert "calibrate" in refused(2, ("export", run, "-o", tmp_path / "bundle"))
    assert nothing_but(tmp_path, "empty", "run")


def test_a_folder_that_is_something_else_is_not_overwritten(
    tiny_data: Path, tiny_weights: Path, good_folder: Path
) -> None:
    before = sorted(good_folder.iterdir())
    refused(2, train_words(tiny_data, good_folder, tiny_weights))
    assert sorted(good_folder.iterdir()) == before


@pytest.mark.parametrize("name", ["model.xml", "model.bin", "manifest.json", "golden/0.png"])
def test_a_bundle_with_a_changed_byte(name: str, tiny_bundle: Path, tiny_data: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    content = bytearray((bundle / name).read_bytes())
    # A digit of a number keeps the manifest valid JSON.
    place = re.search(rb"\d\.\d(\d)", content).start(1) if name == "manifest.json" else len(content) // 2
    content[place] ^= 1
    (bundle / name).write_bytes(content)
    words = ("run", "-m", bundle, "-s", tiny_data / "test" / "good", "--results", tmp_path / "out" / "r.jsonl")
    refused(4, words, RUNTIME)
    assert nothing_but(tmp_path, "bundle")


def test_a_video_that_cannot_be_opened(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"not a film")
    results = tmp_path / "results.jsonl"
    for source in (tmp_path / "film.mp4", tmp_path / "nowhere.mp4"):
        refused(3, ("run", "-m", tiny_bundle, "-s", source, "--results", results), RUNTIME)
    assert nothing_but(tmp_path, "film.mp4")


def test_a_device_that_is_not_there_names_those_that_are(tiny_bundle: Path, tiny_data: Path) -> None:
    words = ("run", "-m", tiny_bundle, "-s", tiny_data / "test" / "good", "-d", "TPU")
    assert "CPU" in refused(3, words, RUNTIME)


def test_a_layer_that_does_not_exist_lists_those_that_do(tiny_data: Path, tmp_path: Path, tiny_weights: Path) -> None:
    usual = train_words(tiny_data, tmp_path / "run", tiny_weights)
    words = tuple("layer9" if word == "layer2,layer3" else word for word in usual)
    assert "layer2, layer3" in refused(2, words)


def test_an_image_the_model_was_trained_on_does_not_calibrate_it(
    tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    held_out = Path(shutil.copytree(tiny_data / "validation" / "good", tmp_path / "held_out"))
    shutil.copy(tiny_data / "train" / "good" / "003.png", held_out / "known.png")
    line = refused(2, ("calibrate", tiny_run, "--data", held_out))
    assert "known.png" in line
    assert "trained on" in line


def test_one_bad_image_among_good_ones_is_an_error_and_the_rest_is_inspected(
    tiny_bundle: Path, good_folder: Path, tmp_path: Path
) -> None:
    (good_folder / "broken.png").write_bytes(b"")
    results = tmp_path / "results.jsonl"
    done = run_cli("run", "-m", tiny_bundle, "-s", good_folder, "--results", results, program=RUNTIME)
    assert done.returncode == 0, done.stderr
    assert "ERROR 1" in done.stdout
