"""The samples run as their first line says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import REPOSITORY


def run_sample(name: str, *words: object) -> str:
    command = [sys.executable, str(REPOSITORY / "samples" / name), *(str(word) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_camera_loop_judges_every_frame_of_a_video(tiny_bundle: Path, tiny_data: Path, tmp_path: Path) -> None:
    video = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10, (80, 80))
    for path in sorted((tiny_data / "test" / "scratch").iterdir()):
        writer.write(cv2.imread(str(path)))
    writer.release()
    lines = run_sample("camera_loop.py", tiny_bundle, video, "--headless").splitlines()
    assert [line.split()[0] for line in lines] == ["NG"] * 6


def test_inspect_folder_sorts_by_score(tiny_bundle: Path, tiny_data: Path) -> None:
    lines = run_sample("inspect_folder.py", tiny_bundle, tiny_data / "test" / "*" / "*.png").splitlines()
    assert [("scratch" in line) for line in lines] == [True] * 6 + [False] * 6


def test_inspect_folder_puts_what_cannot_be_judged_first(tiny_bundle: Path, tiny_data: Path, tmp_path: Path) -> None:
    for path in [*(tiny_data / "test").glob("good/*.png"), *(tiny_data / "test").glob("scratch/*.png")]:
        shutil.copy(path, tmp_path / f"{path.parent.name}_{path.name}")
    (tmp_path / "good_003.png").write_bytes(b"no picture")
    lines = run_sample("inspect_folder.py", tiny_bundle, tmp_path).splitlines()
    assert "ERROR" in lines[0]
    assert [("scratch" in line) for line in lines[1:]] == [True] * 6 + [False] * 5


def test_masks_over_photos_draws_each_mask_on_its_photo(tiny_data: Path, tmp_path: Path) -> None:
    lines = run_sample("masks_over_photos.py", tiny_data, tmp_path / "out").splitlines()
    assert len(lines) == 6
    for picture in (tmp_path / "out").iterdir():
        photo = cv2.imread(str(tiny_data / "test" / "scratch" / f"{picture.stem.rsplit('_')[-1]}.png"))
        changed = (cv2.imread(str(picture)) != photo).any(2)
        mask = cv2.imread(str(tiny_data / "ground_truth/scratch" / f"{picture.stem.rsplit('_')[-1]}_mask.png"), 0)
        assert changed.any()
        assert not changed[cv2.dilate(mask, np.ones((5, 5), np.uint8)) == 0].any()


def test_the_demos_splits_never_overlap_and_hold_what_the_readme_says(elpv_folder: Path, tmp_path: Path) -> None:
    from samples.demo.cells import cell_files, write_cells

    write_cells(tmp_path)
    good, defective = cell_files()
    splits = {str(path.relative_to(tmp_path).parent): set() for path in tmp_path.rglob("*.png")}
    for path in tmp_path.rglob("*.png"):
        splits[str(path.relative_to(tmp_path).parent)].add(path.name)
    assert len(splits["train/good"]) == 300
    assert splits["test/defective"] == {path.name for path in defective}
    assert abs(len(splits["validation/good"]) - len(splits["test/good"])) <= 1
    assert sum(len(names) for names in splits.values()) == len(good) + len(defective)
    assert len(set().union(*splits.values())) == len(good) + len(defective)


def test_the_split_by_module_fits_the_first_cells_and_tests_later_ones(elpv_folder: Path, tmp_path: Path) -> None:
    from samples.demo.cells import cells_by_module, write_cells_by_module

    write_cells_by_module(tmp_path)
    names = {
        split: sorted(path.name for path in (tmp_path / split).iterdir())
        for split in ("train/good", "test/good", "test/defective")
    }
    assert {split: len(found) for split, found in names.items()} == {
        "train/good": 300,
        "test/good": 288,
        "test/defective": 31,
    }
    assert names["train/good"][-1] < min(names["test/good"][0], names["test/defective"][0])
    train, good, defective = cells_by_module("poly")
    assert (len(train), len(good), len(defective)) == (300, 620, 133)


def test_the_demos_tables_have_their_columns_in_line(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("elpv_dataset", reason="the demo needs the package elpv-dataset: pip install '.[demo]'")
    from samples.demo.__main__ import print_table

    print_table({"": ["random split", "by module"], "image AUROC": ["0.9", "0.7"]})
    assert capsys.readouterr().out.splitlines() == [
        "",
        "             random split  by module",
        "image AUROC  0.9           0.7",
    ]


def test_the_demos_video_shows_one_part_a_frame_and_keeps_the_truth(tiny_data: Path, tmp_path: Path) -> None:
    from samples.demo.line_video import HEIGHT, WIDTH, render

    cells = []
    for index, kind in enumerate(("good", "defective", "good")):
        path = tmp_path / kind / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(tiny_data / "test/good/000.png")), (300, 300)))
        cells.append(path)
    render(cells, tmp_path / "line.mp4", tmp_path / "truth.jsonl")
    capture = cv2.VideoCapture(str(tmp_path / "line.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert capture.read()[1].shape == (HEIGHT, WIDTH, 3)
    truth = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert [part["defective"] for part in truth] == [False, True, False]


@pytest.mark.parametrize("name", ["camera_loop.py", "inspect_folder.py"])
def test_a_sample_is_short_enough_to_be_read_at_a_glance(name: str) -> None:
    assert len((REPOSITORY / "samples" / name).read_text().splitlines()) <= 40
