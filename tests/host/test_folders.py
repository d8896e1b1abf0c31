"""Folders and names as people have them: which parts are good, what is left out, names that are no text."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import run_cli

from patchcore_edge.data import Folder, ImageList, MVTec, open_data, prediction_items
from patchcore_edge.data.good_names import sounds_good
from patchcore_edge.engine import Engine
from patchcore_edge.jobs.calibrate import calibrate_run
from patchcore_edge.jobs.evaluate import evaluate_run
from patchcore_edge.jobs.train import TrainOptions, train_run
from patchcore_edge.runs.checkpoint import load_run
from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.images.listing import Why
from patchcore_edge_runtime.path_text import path_from_text

linux = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux is a name any bytes")


@pytest.fixture
def data(tiny_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


def counts(data: Path, **words: object) -> tuple[int, int]:
    """Good and defective test images."""
    items = MVTec(data, "", **words).test
    return sum(not item.is_defective for item in items), sum(item.is_defective for item in items)


@pytest.mark.parametrize(
    "name", ["Good", "GOOD", "good ", "OK", "ok", "normal", "0", "00", "0.normal", "1_good", "pass", "i.O.", "gut"]
)
def test_good_parts_are_known_by_the_usual_names_of_their_folder(name: str, data: Path) -> None:
    (data / "test/good").rename(data / "test" / name)
    module = MVTec(data, "")
    assert counts(data) == (6, 6)
    assert {item.label for item in module.test} == {"good", "scratch"}
    assert f"{data / 'test' / name} is taken as the good parts." in module.describe_folders()


@pytest.mark.parametrize("name", ["scratch", "ng", "1", "crack", "pass_by", "normal_crack", "not good", "ioc"])
def test_other_names_are_not_taken_for_good_parts(name: str) -> None:
    assert not sounds_good(name)


@pytest.mark.parametrize("split", ["test", "validation"])
def test_two_folders_that_may_be_good_parts_are_refused_and_good_says_which(split: str, data: Path) -> None:
    shutil.copytree(data / split / "good", data / split / "OK")
    with pytest.raises(DataError, match=r"OK, good, and each may be the good parts; say which with --good NAME"):
        MVTec(data, "")
    module = MVTec(data, "", good=["good"])
    assert [one.path.name for one in module.left_out if one.why is Why.UNCLEAR] == ["OK"]
    assert counts(data, good=["good"]) == (6, 6)
    both = MVTec(data, "", good=["good", "OK"])
    assert sum(not item.is_defective for item in (both.test if split == "test" else both.validation)) == len(
        {*(data / split / "good").iterdir(), *(data / split / "OK").iterdir()}
    )


def test_no_folder_of_good_parts_is_refused_unless_it_is_said_which_or_that_there_is_none(data: Path) -> None:
    (data / "test/good").rename(data / "test/Serie A")
    with pytest.raises(DataError, match=r"Serie A, scratch, and none is known as the good parts.*--good NAME.*empty"):
        MVTec(data, "")
    assert counts(data, good=["serie a"]) == (6, 6)
    shutil.rmtree(data / "test/Serie A")
    (data / "test/good").mkdir()
    assert counts(data) == (0, 6)
    with pytest.raises(DataError, match="no folder called Serie B"):
        MVTec(data, "", good=["Serie B"])


def test_splits_are_found_in_capital_letters_and_by_their_short_names(data: Path) -> None:
    expected = [len(part) for part in (MVTec(data, "").train, MVTec(data, "").validation, MVTec(data, "").test)]
    for old, new in (("train", "Train"), ("validation", "val"), ("test", "TEST")):
        (data / old).rename(data / new)
    module = open_data(data)
    assert [len(part) for part in (module.train, module.validation, module.test)] == expected
    shutil.copytree(data / "TEST", data / "test")
    with pytest.raises(DataError, match="TEST and test"):
        open_data(data)


def test_what_a_layout_has_no_place_for_is_said(data: Path) -> None:
    for place in ("train/bad/1.png", "test/loose.png", "spare/2.png", "test/scratch/x.heic", "test/@eaDir/3.png"):
        (data / place).parent.mkdir(exist_ok=True)
        shutil.copy(data / "test/good/000.png", data / place)
    module = open_data(data)
    found = {one.path.relative_to(data).as_posix(): one.why for one in module.left_out}
    assert found == {
        "train/bad": Why.NOT_GOOD,
        "test/loose.png": Why.UNUSED,
        "spare": Why.UNUSED,
        "test/scratch/x.heic": Why.FORMAT,
        "test/@eaDir": Why.LEFT_BEHIND,
    }
    assert counts(data) == (6, 6)
    text = module.describe_folders()[-1]
    assert all(path in text for path in found)
    # Also of the data with other training images, and without what tools left.
    assert module.with_train(module.train[:3]).left_out == module.left_out
    assert [one.path.name for one in module.left_out if one.matters] == ["spare", "bad", "x.heic", "loose.png"]


def test_train_without_folders_by_label_is_good_parts_and_validation_is_refused(data: Path) -> None:
    for split in ("train", "validation"):
        for file in (data / split / "good").iterdir():
            file.rename(data / split / file.name)
        shutil.rmtree(data / split / "good")
    with pytest.raises(DataError, match="no folder says the label"):
        open_data(data)
    shutil.rmtree(data / "validation")
    module = open_data(data)
    assert len(module.train) == 12
    assert any("all its images are taken as good parts" in note for note in module.notes)


def test_defects_in_subfolders_are_found_and_hidden_ones_are_not(data: Path) -> None:
    for name in ("deep", ".thumbs"):
        shutil.copytree(data / "test/scratch", data / "test" / name)
        shutil.move(data / "test" / name, data / "test/scratch" / name)
    assert counts(data) == (6, 12)
    assert counts(data, recursive=False) == (6, 6)
    assert len(Folder(data, "train/good", "test/scratch").test) == 12
    assert len(prediction_items(data / "test/scratch")) == 12
    assert len(prediction_items(data / "test/scratch", recursive=False)) == 6


def test_of_a_folder_without_train_good_names_the_part_to_learn(data: Path) -> None:
    folder = data / "test"
    (folder / "good").rename(folder / "Serie A")
    module = open_data(folder, good=["Serie A"])
    assert len(module.train) == 6
    assert [one.path.name for one in module.left_out] == ["scratch"]


def test_only_subfolders_hold_images_is_said_where_they_are_not_looked_into(tmp_path: Path, tiny_data: Path) -> None:
    shutil.copytree(tiny_data / "train/good", tmp_path / "monday")
    assert len(open_data(tmp_path).train) == 12
    with pytest.raises(DataError, match=r"holds no images that can be used.*12 files in subfolders .*monday with 12"):
        open_data(tmp_path, recursive=False)


@pytest.mark.parametrize("label", ["OK", "Good", "normal"])
def test_labels_of_a_list_follow_the_same_rule(label: str, data: Path) -> None:
    file = data / "parts.csv"

    def write(*labels: str) -> None:
        rows = [f"{kind}/{i:03d}.png,{text},Test" for kind, text in labels_of(labels) for i in range(3)]
        file.write_text("\n".join(["path,label,split", *rows]))

    def labels_of(labels: tuple[str, ...]) -> list[tuple[str, str]]:
        return list(zip(("test/good", "test/scratch", "train/good"), labels, strict=False))

    write(label, "scratch")
    assert [item.is_defective for item in ImageList(file).test] == [False] * 3 + [True] * 3
    write(label, "scratch", "gut")
    with pytest.raises(DataError, match="--good NAME"):
        ImageList(file)
    write("Serie A", "scratch")
    with pytest.raises(DataError, match="none is known as the good parts"):
        ImageList(file)
    assert sum(item.is_defective for item in ImageList(file, good=["Serie A"]).test) == 3


def test_eval_says_that_test_images_were_trained_on(data: Path, tiny_run: Path, tmp_path: Path) -> None:
    said: list[str] = []
    shutil.copy(data / "train/good/003.png", data / "test/good/again.png")
    shutil.copy(data / "train/good/004.png", data / "test/scratch/again.png")
    evaluate_run(tiny_run, data, "cpu", tmp_path / "report.html", warn=said.append)
    (sentence,) = [one for one in said if "trained on" in one]
    assert "trained on 2 of these 14 test images (again.png, again.png), 1 of them labelled as defects" in sentence
    assert sentence[:60] in (tmp_path / "report.html").read_text()
    for file in data.glob("test/*/again.png"):
        file.unlink()
    said.clear()
    evaluate_run(tiny_run, data, "cpu", tmp_path / "clean.html", warn=said.append)
    assert not [one for one in said if "trained on" in one]


@linux
def test_names_that_are_no_text_are_fitted_calibrated_and_recorded(
    data: Path, tiny_options: TrainOptions, tmp_path: Path
) -> None:
    for place in ("train/good", "validation/good", "test/good", "test/scratch"):
        (data / place / "000.png").rename(data / place / os.fsdecode(b"Pr\xfcfling.png"))
    (data / "test/scratch").rename(os.fsdecode(os.fsencode(data / "test") + b"/Kr\xe4tzer"))
    shutil.rmtree(data / "ground_truth")
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/Gut\xe4ile"))
    data.rename(strange)
    run, said = tmp_path / "run", []
    train_run(strange, run, tiny_options, notify=said.append)
    calibrate_run(run, strange, 0.1, "cpu", notify=said.append)
    evaluation = evaluate_run(run, strange, "cpu", run / "report.html")
    assert evaluation.images == 12
    assert path_from_text(load_run(run)[1].train_data) == str(strange)
    facts = json.loads((run / "calibration/calibration.json").read_text())["facts"]
    assert path_from_text(facts["data"]) == str(strange)
    assert r"Kr\xe4tzer" in (run / "report.html").read_text()
    assert r"Pr\xfcfling" in (run / "outliers.html").read_text()
    for text in said:
        text.encode()
    done = run_cli("eval", run, "--data", strange / "nowhere")
    assert done.returncode == 2
    assert r"Gut\xe4ile" in done.stderr


def test_predictions_of_equal_names_are_a_picture_each_and_none_is_overwritten(
    tiny_data: Path, tiny_run: Path, tmp_path: Path
) -> None:
    for place in ("monday/cam1/a.png", "tuesday/cam1/a.png", "monday/cam2/a.png", "monday/cam2/A.bmp"):
        (tmp_path / "in" / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tiny_data / "test/good/000.png", tmp_path / "in" / place)
    model, engine, out = load_run(tiny_run)[0], Engine("cpu", progress=False), tmp_path / "in/out"
    engine.predict(model, tmp_path / "in", output=out)
    assert len({str(path).casefold() for path in out.rglob("*.png")}) == 4
    # The folder that was written to is not among what is predicted on, and nothing in it is lost.
    with pytest.raises(ConfigError, match="is there already; give a new folder"):
        engine.predict(model, tmp_path / "in", output=out)
    assert len(engine.predict(model, tmp_path / "in", output=tmp_path / "in/out2", recursive=True)) == 1


def test_commands_say_what_they_took_and_left_out(data: Path, tiny_options: TrainOptions, tmp_path: Path) -> None:
    (data / "train/good").rename(data / "train/OK")
    (data / "train/OK/x.heic").touch()
    said: list[str] = []
    run = tmp_path / "run"
    facts = train_run(data, run, replace(tiny_options, good=("OK",)), notify=said.append)
    assert f"{data / 'train/OK'} is taken as the good parts." in said
    assert any("1 .heic: train/OK/x.heic" in sentence for sentence in said)
    assert facts.good == ("OK",)
    done = run_cli("eval", run, "--data", data, "--good", "good", "--json")
    assert json.loads(done.stdout)["good"] == 6
    refused = run_cli("eval", run, "--data", data, "--good", "Serie B")
    assert refused.returncode == 2
    assert "no folder called Serie B" in refused.stderr
