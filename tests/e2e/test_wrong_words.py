"""What a command says of words that cannot be meant so, or that are meant so after all."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import cv2
import numpy as np
import pytest
from conftest import REPOSITORY, TINY_BACKBONE, run_cli, spawn_cli
from refusals import RUNTIME, nothing_but, refused, train_words

from patchcore_edge.engine import resolve_device
from patchcore_edge_runtime import Inspector
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.line.config import LineConfig


@pytest.mark.parametrize("size", ["4", "12", "64x24"])
def test_a_size_that_has_too_few_patches_is_refused_with_the_least_that_has_enough(
    size: str, tiny_data: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    words = train_words(tiny_data, tmp_path / "run", tiny_weights)[:-2]
    line = refused(2, (*words, "--image-size", size))
    assert "too few to find a defect by" in line
    assert "32 pixels" in line
    assert nothing_but(tmp_path)


def test_a_bank_of_a_handful_is_warned_of_with_what_makes_it_larger(
    tiny_data: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    words = train_words(tiny_data, tmp_path / "run", tiny_weights)
    done = run_cli(*words, "--coreset-size", 5)
    assert done.returncode == 0
    assert "Warning: The memory bank holds 5 of 768 patches" in done.stderr
    assert "--coreset-size" in done.stderr
    assert "The memory bank holds" not in run_cli(*words, "--coreset-size", 100).stderr


@pytest.mark.parametrize("command", [("train", "--backbone"), ("tune", "--backbones")])
@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet-18", "resnet18"),
        ("tf_eficientnet_lite0", "tf_efficientnet_lite0"),
        ("resnet18.tv_in2k", "resnet18.tv_in1k"),
    ],
)
def test_a_misspelt_backbone_is_told_what_is_near_before_anything_else(
    command: tuple[str, str], name: str, near: str, tmp_path: Path
) -> None:
    line = refused(2, (command[0], tmp_path / "nowhere", "-o", tmp_path / "run", command[1], name))
    assert f"no backbone '{name}'; near are {near}," in line


@pytest.mark.parametrize(
    ("option", "word", "what"),
    [
        ("--coreset-sampling-ratio", 2, "above 0, and at most 1"),
        ("--num-neighbors", 0, "at least 1"),
        ("--patch-size", 2, "give 1, 3, 5"),
        ("--patch-stride", 0, "at least 1"),
        ("--projection-eps", 5, "between 0 and 1"),
        ("--layers", "layer9", "has no layer 'layer9'"),
        ("--weights", "nowhere.pth", "no weights file nowhere.pth"),
    ],
)
def test_what_no_fit_can_be_told_is_said_before_the_data_are_looked_at(
    option: str, word: object, what: str, tmp_path: Path, tiny_weights: Path
) -> None:
    words = {"--backbone": TINY_BACKBONE, "--weights": tiny_weights, "--layers": "layer2", option: word}
    given = [text for pair in words.items() for text in pair]
    assert what in refused(2, ("train", tmp_path / "nowhere", "-o", tmp_path / "run", *given))


@pytest.mark.parametrize(
    ("option", "word"), [("--budget-ms", -3), ("--budget-mb", 0), ("--time-limit", -1), ("--sizes", 4)]
)
def test_what_no_search_can_be_told_is_said_before_hours_of_it(option: str, word: int, tmp_path: Path) -> None:
    line = refused(2, ("tune", tmp_path / "nowhere", "-o", tmp_path / "run", option, word))
    assert option in line
    assert "nowhere" not in line


def test_more_components_than_a_patch_has_numbers_are_refused(
    tiny_data: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    line = refused(2, (*train_words(tiny_data, tmp_path / "run", tiny_weights), "--pca", 5000))
    assert "--pca is 5000; a patch is described by 384 numbers" in line


def test_pictures_of_a_few_pixels_are_said_to_be_that(tmp_path: Path, tiny_weights: Path) -> None:
    (tmp_path / "data").mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / "data" / f"{index}.png"), np.full((6, 6, 3), index, np.uint8))
    line = refused(2, train_words(tmp_path / "data", tmp_path / "run", tiny_weights))
    assert "Most photos have fewer than 8x8 pixels" in line


@pytest.mark.parametrize(("option", "word"), [("--seed", "x"), ("--score", "best"), ("--num-neighbors", "many")])
def test_a_word_that_is_no_value_is_refused_without_a_parsers_grammar(option: str, word: str, tmp_path: Path) -> None:
    done = run_cli("train", tmp_path, "-o", tmp_path / "run", option, word)
    said = " ".join(re.sub(r"[^ -~]", " ", done.stderr).split())
    assert done.returncode == 2
    assert f"Invalid value for '{option}'" in said
    assert not re.search("Value error|Input should|unable to parse", said)


def test_a_name_like_no_other_says_where_all_are(tmp_path: Path) -> None:
    assert "timm.list_models()" in refused(2, ("train", tmp_path, "-o", tmp_path / "run", "--backbone", "qqqqq"))


def test_devices_are_understood_in_capitals_and_without(tiny_bundle: Path, tmp_path: Path) -> None:
    assert resolve_device("CPU") == resolve_device("cpu")
    assert Inspector(tiny_bundle, "cpu").device == "CPU"
    LineConfig(bundle=tiny_bundle, device="cpu", inference_num_threads=1, source={"uri": "x.png"})
    words = ("predict", "-m", tiny_bundle, "-s", tmp_path / "x.png")
    assert "x.png" in refused(3, (*words, "-o", tmp_path / "out", "-d", "cpu"), RUNTIME)


def test_a_device_that_torch_does_not_know_names_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match="no device 'gpu'; give --device auto, cpu, cuda or xpu"):
        resolve_device("gpu")


class Overloaded(BaseHTTPRequestHandler):
    """A hub that refuses each request and remembers it."""

    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        self.send_error(503)

    do_GET = do_HEAD

    def log_message(self, *words: object) -> None:
        pass


def test_a_hub_that_does_not_give_is_asked_once_and_a_file_has_two_places_to_go(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Overloaded.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Overloaded) as hub:
        Thread(target=hub.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server_port}")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        monkeypatch.delenv("PATCHCORE_EDGE_WEIGHTS", raising=False)
        words = ("train", tiny_data, "-o", tmp_path / "run", "--backbone", TINY_BACKBONE, "--layers", "layer2")
        done = spawn_cli(*words, "--image-size", 64, "--weights", "hub")
        hub.shutdown()
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2
    assert "model.safetensors of timm/resnet18" in line
    assert "--weights FILE" in line
    assert "resnet18.safetensors into a folder that PATCHCORE_EDGE_WEIGHTS names" in line
    assert len([path for path in Overloaded.asked if path.endswith("model.safetensors")]) == 1
    assert "Retry" not in done.stderr


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (RUNTIME, ("info",)),
        (RUNTIME, ("edit", "--by", "me", "--image-threshold", "LIMIT")),
        ("patchcore_edge", ("verify", "--run", "run")),
    ],
)
def test_the_commands_for_a_bundle_take_it_alike(
    program: str, words: tuple[str, ...], tiny_bundle: Path, tiny_run: Path, copied_bundle: Path
) -> None:
    words = tuple(str(tiny_run) if word == "run" else word for word in words)
    bundle = copied_bundle if "edit" in words else tiny_bundle
    for place, named in enumerate(((bundle,), ("-m", bundle))):
        said = [str(1e9 + place) if word == "LIMIT" else word for word in words[1:]]
        assert run_cli(words[0], *named, *said, program=program).returncode == 0
    for wrong in ((), (bundle, "-m", bundle)):
        assert "Give one bundle folder" in refused(2, (words[0], *wrong, *said), program)


@pytest.fixture
def copied_bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def test_calibrate_and_eval_know_what_a_run_was_trained_on_wherever_they_are_called(
    tiny_data: Path, tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_data.parent)
    assert run_cli(*train_words(Path(tiny_data.name), tmp_path / "run", tiny_weights)).returncode == 0
    monkeypatch.chdir(tmp_path)
    done = run_cli("calibrate", "run")
    assert done.returncode == 0, done.stderr
    assert f"Calibrating with the data of the fit, {tiny_data}." in done.stdout
    done = run_cli("eval", "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_run_whose_training_data_are_gone_asks_for_others(
    tiny_data: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    moved = tmp_path / "moved"
    (tmp_path / "data").symlink_to(tiny_data)
    assert run_cli(*train_words(tmp_path / "data", tmp_path / "run", tiny_weights)).returncode == 0
    (tmp_path / "data").rename(moved)
    line = refused(2, ("calibrate", tmp_path / "run"))
    assert f"was trained on {tmp_path / 'data'}, which is not there; give --data." in line


@pytest.mark.parametrize("words", [("patchcore_edge", "data"), ("patchcore_edge_runtime", "info")])
def test_a_reader_that_goes_away_ends_a_command_without_a_word(
    words: tuple[str, str], tiny_data: Path, tiny_bundle: Path
) -> None:
    command = [sys.executable, "-m", *words, str(tiny_data if words[1] == "data" else tiny_bundle)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


@pytest.mark.parametrize("name", ["camera_loop.py", "inspect_folder.py", "masks_over_photos.py"])
def test_a_sample_without_its_words_prints_how_it_is_used(name: str) -> None:
    command = [sys.executable, str(REPOSITORY / "samples" / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: {name}")


@pytest.mark.parametrize("command", ["calibrate", "eval"])
def test_a_device_that_there_is_not_is_said_before_the_data_are_looked_at(command: str, tmp_path: Path) -> None:
    line = refused(2, (command, tmp_path, "--data", tmp_path / "nowhere", "-d", "gpu"))
    assert "torch has no device 'gpu'" in line


def test_info_is_json_and_no_number_has_a_line_of_its_own(tiny_bundle: Path) -> None:
    done = run_cli("info", tiny_bundle, program=RUNTIME)
    assert json.loads(done.stdout)["model_id"]
    assert [row for row in done.stdout.splitlines() if re.fullmatch(r"\s*-?[\d.e-]+,?", row)] == []
