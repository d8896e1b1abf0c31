"""One part counts once however often it was photographed, and what belongs together stays in one fold."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import TINY_BACKBONE, run_cli
from hypothesis import given
from hypothesis import strategies as st

from patchcore_edge.data import ImageItem, ImageList, describe_batches, hold_out, open_data
from patchcore_edge.fit.copies import find_parts, shown_already
from patchcore_edge.jobs.cross_validation import folds, units_of
from patchcore_edge.runs.checkpoint import load_calibration
from patchcore_edge_runtime.errors import ConfigError, DataError

GRID = (8, 8)


def part_features(rng: np.random.Generator, parts: int) -> torch.Tensor:
    """``[parts, 64, 16]`` features that parts share, and each part's own."""
    common = rng.normal(size=(1, 64, 16))
    return torch.from_numpy((common + rng.normal(size=(parts, 64, 16))).astype(np.float32))


def again(features: torch.Tensor, rng: np.random.Generator, noise: float = 0.2) -> torch.Tensor:
    return features + noise * torch.from_numpy(rng.normal(size=features.shape).astype(np.float32))


def test_pictures_of_one_part_are_found_and_those_of_different_parts_are_not_taken_for_one() -> None:
    rng = np.random.default_rng(0)
    parts = part_features(rng, 20)
    shots = torch.cat([parts, again(parts[:5], rng), again(parts[:2], rng)])
    found = find_parts(shots.reshape(-1, 16), GRID, [str(i) for i in range(27)])
    assert found.part.tolist() == [*range(20), 0, 1, 2, 3, 4, 0, 1]
    assert (found.count, found.equal, found.near) == (20, 0, 7)
    assert "27 images show 20 different parts" in str(found)


def test_equal_files_count_once_and_are_counted() -> None:
    rng = np.random.default_rng(0)
    parts = part_features(rng, 6)
    digests = [*"abcdef", *"abcdef"]
    found = find_parts(torch.cat([parts, parts]).reshape(-1, 16), GRID, digests)
    assert found.part.tolist() == [*range(6), *range(6)]
    assert (found.equal, found.near) == (6, 0)
    assert "6 equal files" in str(found)
    assert str(find_parts(parts.reshape(-1, 16), GRID, list("abcdef"))) == ""


def test_pictures_from_different_batches_show_different_parts() -> None:
    rng = np.random.default_rng(0)
    parts = part_features(rng, 10)
    shots = torch.cat([parts, again(parts, rng)]).reshape(-1, 16)
    names = [str(i) for i in range(20)]
    assert find_parts(shots, GRID, names).count == 10
    assert find_parts(shots, GRID, names, ["a"] * 10 + ["b"] * 10).count == 20


def test_an_image_held_out_of_a_part_that_was_fitted_is_known_to_be_one() -> None:
    rng = np.random.default_rng(0)
    parts = part_features(rng, 12)
    others = torch.cat([again(parts[3:4], rng), part_features(rng, 1)])
    assert shown_already(parts.reshape(-1, 16), others.reshape(-1, 16), GRID) == [True, False]


@given(st.lists(st.integers(0, 12), min_size=2, max_size=60), st.integers(0, 5), st.integers(2, 10))
def test_folds_keep_units_whole_and_hold_every_image_once(units: list[int], seed: int, count: int) -> None:
    numbers = np.array(units)
    if len(set(units)) < 2:
        with pytest.raises(DataError):
            folds(numbers, seed, count)
        return
    found = folds(numbers, seed, count)
    assert sorted(int(i) for fold in found for i in fold) == list(range(len(units)))
    for unit in set(units):
        assert sum(bool((numbers[fold] == unit).any()) for fold in found) == 1


def test_a_part_in_two_batches_joins_them() -> None:
    part, batches = np.array([0, 1, 1, 2, 3]), ("a", "a", "b", "b", "c")
    units = units_of(part, batches)
    assert len(set(units[:4])) == 1
    assert units[4] != units[0]
    assert units_of(part).tolist() == [0, 1, 1, 2, 3]


@pytest.fixture
def lots(tiny_data: Path, tmp_path: Path) -> Path:
    """Three lots of four discs."""
    folder = tmp_path / "parts"
    for place, file in enumerate(sorted((tiny_data / "train" / "good").iterdir())):
        (folder / f"lot{place % 3}").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / f"lot{place % 3}" / file.name)
    return folder


def test_a_subfolder_is_a_batch_and_so_is_what_a_pattern_finds(lots: Path, tiny_data: Path) -> None:
    assert describe_batches(open_data(lots).train) == "12 images come in 3 batches (lot0 4, lot1 4, lot2 4)."
    flat = open_data(tiny_data / "train" / "good", group_by=r"(\d)\.png$").train
    assert {item.batch for item in flat} == set("0123456789")
    assert describe_batches(open_data(tiny_data / "train" / "good").train) == ""
    with pytest.raises(ConfigError, match="finds nothing in"):
        open_data(tiny_data, group_by="lot")
    with pytest.raises(ConfigError, match="no pattern"):
        open_data(tiny_data, group_by="(")


@pytest.mark.parametrize("name", ["good", "OK", "ng", "defect", "Anomaly", "test", "ground_truth"])
def test_a_folder_that_is_no_batch_of_good_parts_is_refused(lots: Path, name: str) -> None:
    (lots / "lot0").rename(lots / name)
    with pytest.raises(DataError, match=name):
        open_data(lots)


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "@eaDir", "__MACOSX", ".thumbs"])
def test_folders_that_tools_leave_behind_are_no_batches(lots: Path, name: str) -> None:
    (lots / "lot0").rename(lots / name)
    assert {item.batch for item in open_data(lots).train} == {"lot1", "lot2"}


def test_whole_batches_are_held_out() -> None:
    items = [ImageItem(Path(f"{i}.png"), batch=f"lot{i % 5}") for i in range(50)]
    for seed in range(4):
        fitted, held = hold_out(items, 0.2, seed)
        assert {item.batch for item in fitted}.isdisjoint(item.batch for item in held)
        assert len(held) == 10


def test_a_list_names_images_labels_splits_and_batches(tiny_data: Path, tmp_path: Path) -> None:
    file = tmp_path / "parts.csv"
    rows = [(f"train/good/{i:03d}.png", "", f"day{i % 2}", "") for i in range(12)]
    rows += [(f"test/scratch/{i:03d}.png", "scratch", "", f"ground_truth/scratch/{i:03d}_mask.png") for i in range(3)]
    shutil.copytree(tiny_data, tmp_path, dirs_exist_ok=True)
    with file.open("w", newline="") as lines:
        csv.writer(lines).writerows([("path", "label", "batch", "mask"), *rows])
    data = open_data(file)
    assert isinstance(data, ImageList)
    assert (len(data.train), len(data.test)) == (12, 3)
    assert {item.batch for item in data.train} == {"day0", "day1"}
    assert all(item.mask is not None and item.is_defective for item in data.test)

    for text, what in (("photo\na.png\n", "it needs path"), ("path\nnone.png\n", "line 2: there is no file")):
        file.write_text(text)
        with pytest.raises(DataError, match=what):
            open_data(file)
    file.write_text("path,label,split\ntrain/good/001.png,good,train\ntrain/good/000.png,scratch,train\n")
    with pytest.raises(DataError, match="line 3"):
        open_data(file)


def test_batches_are_kept_from_the_fit_to_the_evaluation(lots: Path, tiny_weights: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ("--backbone", TINY_BACKBONE, "--layers", "layer2,layer3", "--weights", tiny_weights, "--image-size", 64)
    done = run_cli("train", lots, "-o", run, *options)
    assert "12 images come in 3 batches" in done.stdout, done.stderr
    done = run_cli("calibrate", run, "--data", lots, "--target-fpr", 0.05)
    assert "in 3 batches, cross-fitted" in done.stdout, done.stderr
    assert "3 batches are too few" in done.stdout
    found = load_calibration(run)
    assert found is not None
    assert (found.facts.batches, found.facts.new_batch_fpr) == (3, pytest.approx(1 / 4))
    assert found.unseen_bank

    data = tmp_path / "data"
    shutil.copytree(lots, data / "test" / "good")
    (data / "test" / "scratch").mkdir()
    cv2.imwrite(str(data / "test" / "scratch" / "0.png"), np.full((80, 80, 3), 255, np.uint8))
    done = run_cli("eval", run, "--data", data, "--json", "--report", tmp_path / "r.html")
    groups = {group["group"]: group for group in json.loads(done.stdout)["groups"]}
    assert groups["lot1"]["good"] == 4
    assert "Warning: " in done.stderr


def test_copies_in_a_folder_are_said_and_do_not_add_to_n(tiny_data: Path, tiny_weights: Path, tmp_path: Path) -> None:
    folder, run = tmp_path / "parts", tmp_path / "run"
    folder.mkdir()
    for copy in range(4):
        for file in (tiny_data / "train" / "good").iterdir():
            shutil.copy(file, folder / f"{copy}_{file.name}")
    options = ("--backbone", TINY_BACKBONE, "--layers", "layer2,layer3", "--weights", tiny_weights, "--image-size", 64)
    done = run_cli("train", folder, "-o", run, *options)
    assert "48 images show" in done.stdout
    assert "36 equal files" in done.stdout
    done = run_cli("calibrate", run, "--data", folder)
    assert "36 equal files" in done.stdout
    found = load_calibration(run)
    assert found is not None
    assert found.facts.images == 48
    assert found.facts.n <= 12
    assert found.facts.supported_fpr >= 1 / 13
