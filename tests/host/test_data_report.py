"""The data report: what is there, left out, twice, doubtful; the same before every job; layouts as they come."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import run_cli
from PIL import Image

from patchcore_edge.data import Folder, FolderRules, open_data, open_tests, open_whole
from patchcore_edge.data.digests import FileDigests
from patchcore_edge.data.report import DataReport, report_data
from patchcore_edge.jobs.calibrate import calibrate_run
from patchcore_edge.jobs.evaluate import evaluate_run
from patchcore_edge.jobs.train import TrainOptions, train_run
from patchcore_edge_runtime.errors import DataError

RANDOM = np.random.default_rng(5)


def photo(path: Path, size: tuple[int, int] = (20, 30), pixels: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = RANDOM.integers(0, 256, (*size, 3), np.uint8) if pixels is None else pixels
    assert cv2.imwrite(str(path), written)
    return path


def mask(path: Path, size: tuple[int, int] = (20, 30), value: int = 255) -> Path:
    drawn = np.zeros(size, np.uint8)
    drawn[3:9, 4:9] = value
    return photo(path, pixels=drawn)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four photos to train on, two good and two cracked ones to test with, and masks of those."""
    root = tmp_path / "parts"
    for place in range(4):
        photo(root / "train" / "good" / f"{place}.png")
    for place in range(2):
        photo(root / "test" / "good" / f"{place}.png")
        photo(root / "test" / "crack" / f"{place}.png")
        mask(root / "ground_truth" / "crack" / f"{place}_mask.png")
    return root


def report(root: Path, **options: bool) -> DataReport:
    return report_data(open_whole(root, FolderRules()), **options)


def test_a_report_of_clean_data_counts_what_is_there_and_doubts_nothing(root: Path) -> None:
    found = report(root)
    assert dict(found.rows) == {
        "train": "4 images: good 4",
        "test": "4 images: good 2, crack 2",
        "sizes": "30x20 (width x height)",
        "pixels": "colour, 8 bits",
        "same": "no two are the same pixels",
        "masks": "2 of 2 defective images have one",
    }
    assert found.doubts == ()
    found.require_clear()


def _resaved(root: Path) -> None:
    cv2.imwrite(str(root / "test/good/1.bmp"), cv2.imread(str(root / "train/good/1.png")))


def _deep(root: Path) -> None:
    photo(root / "train/good/0.png", pixels=RANDOM.integers(0, 65536, (20, 30), np.uint16))


DOUBTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a phone's format": (
        lambda root: (root / "train/good/9.heic").write_bytes(b"x"),
        r"Left out of .*1 file of formats that are not read",
    ),
    "no image": (
        lambda root: (root / "train/good/9.png").write_bytes(b"x"),
        r"1 image cannot be read and will be skipped \(train/good/9\.png\)",
    ),
    "in two sets": (
        lambda root: shutil.copy(root / "train/good/1.png", root / "test/good/7.png"),
        r"1 picture is in train and test \(train/good/1\.png = test/good/7\.png\)",
    ),
    "saved again, in two sets": (_resaved, r"1 picture is in train and test \(train/good/1\.png = test/good/1\.bmp\)"),
    "of two labels": (
        lambda root: shutil.copy(root / "test/good/1.png", root / "test/crack/1.png"),
        r"1 picture has more than one label",
    ),
    "a copy": (
        lambda root: shutil.copy(root / "train/good/1.png", root / "train/good/1 (copy).png"),
        r"1 image is a copy of another in train",
    ),
    "of several depths": (
        _deep,
        r"training images are of several kinds \(3 of colour, 8 bits; 1 of grey, 16 bits: .+\.png\)",
    ),
    "of another size": (
        lambda root: photo(root / "test/good/1.png", (40, 60)),
        r"1 image has another size than all of train \(.*60x40\)",
    ),
    "no mask": (
        lambda root: (root / "ground_truth/crack/1_mask.png").unlink(),
        r"1 defective image has no mask \(.*crack/1\.png\)",
    ),
    "a mask too many": (
        lambda root: mask(root / "ground_truth/crack/8_mask.png"),
        r"1 mask is called like no image \(.*8_mask\.png\)",
    ),
    "a mask of another size": (
        lambda root: mask(root / "ground_truth/crack/1_mask.png", (30, 20)),
        r"The mask .* has 20x30 pixels and its photo .* 30x20",
    ),
    "a broken mask": (
        lambda root: (root / "ground_truth/crack/1_mask.png").write_bytes(b"x"),
        r"1 image has a mask that cannot be read",
    ),
    "an empty mask": (
        lambda root: mask(root / "ground_truth/crack/1_mask.png", value=0),
        r"1 defective image has a mask that marks nothing",
    ),
    "a mask of a good image": (
        lambda root: mask(root / "ground_truth/good/1_mask.png"),
        r"1 good image has a mask that marks something",
    ),
    "black for white": (
        lambda root: photo(root / "ground_truth/crack/1_mask.png", pixels=np.full((20, 30), 255, np.uint8)),
        r"1 mask marks more than half of its photo",
    ),
}


@pytest.mark.parametrize("what", DOUBTS)
def test_what_is_doubtful_is_named_and_strict_stops_at_it(what: str, root: Path) -> None:
    change, expected = DOUBTS[what]
    change(root)
    found = report(root)
    assert len(found.doubts) == 1, found.doubts
    (doubt,) = found.doubts
    assert re.search(expected, doubt), doubt
    with pytest.raises(DataError, match="--strict"):
        found.require_clear()


def test_the_report_says_what_is_turned_and_which_masks_are_turned_with_it(root: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(RANDOM.integers(0, 256, (30, 20, 3), np.uint8)).save(root / "test/crack/1.png", exif=exif)
    mask(root / "ground_truth/crack/1_mask.png", (30, 20))
    found = report(root)
    assert dict(found.rows)["turned"] == "1 image upright by EXIF (test/crack/1.png)"
    assert "1 turned by EXIF with their photos" in dict(found.rows)["masks"]
    assert found.doubts == ()


def test_files_are_compared_by_their_bytes_where_decoding_them_would_take_long(root: Path) -> None:
    _resaved(root)
    assert report(root, pixels=False).doubts == ()
    assert "compares pixels" in dict(report(root, pixels=False).rows)["same"]
    large = RANDOM.integers(0, 256, (1, 600, 500), np.uint8).repeat(3, 0).transpose(1, 2, 0)
    for path in root.rglob("*.png"):
        photo(path, pixels=large)
    assert report(root).facts["same_by"] == "bytes"


def test_the_command_reports_for_people_and_programs_and_its_exit_code_says_whether_all_is_clear(root: Path) -> None:
    clear = run_cli("data", root, "--strict")
    assert (clear.returncode, clear.stderr) == (0, "")
    assert "4 images: good 4" in clear.stdout
    (root / "ground_truth/crack/1_mask.png").unlink()
    assert run_cli("data", root).returncode == 0
    doubtful = run_cli("data", root, "--strict", "--json")
    assert doubtful.returncode == 2
    facts = json.loads(doubtful.stdout)
    assert facts["images"] == {"train": {"good": 4}, "test": {"good": 2, "crack": 2}}
    assert facts["masks"]["missing"] == ["test/crack/1.png"]
    assert len(facts["doubts"]) == 1


def test_every_job_says_the_report_first_and_strict_stops_it(
    tiny_data: Path, tiny_options: TrainOptions, tiny_run: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    (data / "ground_truth" / "scratch" / "000_mask.png").unlink()
    expected = "1 defective image has no mask"

    def said(job: Callable[..., object], *, strict: bool) -> tuple[list[str], list[str]]:
        lines: list[str] = []
        doubts: list[str] = []
        with pytest.raises(DataError, match="--strict stops"):
            job(strict=strict, notify=lines.append, warn=doubts.append)
        return lines, doubts

    def train(*, strict: bool, **listen: Callable[[str], None]) -> object:
        return train_run(data, tmp_path / "run", replace(tiny_options, strict=strict), **listen)

    def calibrate(**listen: object) -> object:
        return calibrate_run(tiny_run, data, 0.1, "cpu", **listen)

    def evaluate(**listen: object) -> object:
        return evaluate_run(tiny_run, data, "cpu", tmp_path / "report.html", **listen)

    for job in (train, calibrate, evaluate):
        lines, doubts = said(job, strict=True)
        assert "6 images: good 6" in lines[0] or "12 images: good 6, scratch 6" in lines[0]
        assert any(doubt.startswith(expected) for doubt in doubts)
    assert not (tmp_path / "run").exists()


def test_pixel_metrics_are_over_the_masks_that_are_there_with_their_number(
    tiny_data: Path, tiny_run: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    masks = data / "ground_truth" / "scratch"
    page, said = tmp_path / "report.html", []
    (masks / "000_mask.png").unlink()
    cv2.imwrite(str(masks / "001_mask.png"), np.zeros((80, 80), np.uint8))
    some = evaluate_run(tiny_run, data, "cpu", page, warn=said.append)
    assert (some.pixel_images, some.pixel_masks) == (10, 4)
    assert some.pixel_auroc is not None
    assert any("over 10 of 12 images, with 4 of 6 defective ones" in sentence for sentence in said)
    assert "with 4 of 6 defective ones" in page.read_text(encoding="utf-8")

    # The same as if the other two were not there.
    for name in ("000.png", "001.png"):
        (data / "test" / "scratch" / name).unlink()
    assert evaluate_run(tiny_run, data, "cpu", page).pixel_auroc == some.pixel_auroc

    shutil.rmtree(masks)
    said.clear()
    none = evaluate_run(tiny_run, data, "cpu", page, warn=said.append)
    assert (none.pixel_auroc, none.pixel_images, none.pixel_masks) == (None, 0, 0)
    assert any("no pixel metrics" in sentence for sentence in said)


def test_a_mask_that_does_not_fit_ends_an_evaluation_before_it_begins(
    tiny_data: Path, tiny_run: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    cv2.imwrite(str(data / "ground_truth/scratch/001_mask.png"), np.full((80, 40), 255, np.uint8))
    done = run_cli("eval", tiny_run, "--data", data, "--report", tmp_path / "r.html")
    assert done.returncode == 2
    assert "40x80 pixels and its photo" in done.stderr
    assert "80x80" in done.stderr
    assert not (tmp_path / "r.html").exists()


def test_a_folder_finds_masks_of_other_names_and_names_those_it_does_not_find(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for place in range(2):
        (root / f"ground_truth/crack/{place}_mask.png").rename(root / f"ground_truth/crack/mask{place}.bmp")
    mask(root / "ground_truth/crack/other.png")
    for mask_dir in ("ground_truth", "ground_truth/crack"):
        folder = Folder(root, "train/good", "test/crack", "test/good", mask_dir)
        assert all((item.mask is not None) == item.is_defective for item in folder.test)
        assert [path.name for path in folder.matches.left_over] == ["other.png"]
    assert caplog.messages[-1] == "1 masks are called like no image: other.png."
    (root / "ground_truth/crack/mask1.bmp").unlink()
    Folder(root, "train/good", "test/crack", "test/good", "ground_truth")
    assert "1 of 2 defective images have no mask: 1.png." in caplog.messages


def test_masks_beside_their_photos_are_masks_and_no_images(root: Path) -> None:
    for place in range(2):
        shutil.move(root / f"ground_truth/crack/{place}_mask.png", root / f"test/crack/{place}_GT.png")
        mask(root / f"test/good/{place}_GT.png", value=0)
    mask(root / "train/good/0_GT.png", value=0)
    data = open_data(root)
    assert (len(data.train), len(data.test)) == (4, 4)
    assert all(item.mask is not None for item in data.test)
    found = report(root)
    assert "5 beside their photos" in dict(found.rows)["masks"]
    assert found.doubts == ()


# Layouts as they come


def mvtec_ad_2(root: Path) -> None:
    for place in range(3):
        photo(root / f"train/good/{place:03d}_regular.png")
        photo(root / f"validation/good/{place:03d}_regular.png")
        photo(root / f"test_private/{place:03d}_regular.png")
        photo(root / f"test_public/good/{place:03d}_regular.png")
        photo(root / f"test_public/bad/{place:03d}_overexposed.png")
        mask(root / f"test_public/ground_truth/bad/{place:03d}_overexposed_mask.png")


def mvtec_ad_2_masks_beside(root: Path) -> None:
    mvtec_ad_2(root)
    shutil.rmtree(root / "test_private")
    shutil.move(root / "test_public/ground_truth", root / "ground_truth")


def mvtec_loco(root: Path) -> None:
    for place in range(3):
        photo(root / f"train/good/{place:03d}.png")
        photo(root / f"validation/good/{place:03d}.png")
        photo(root / f"test/good/{place:03d}.png")
        for kind, value in (("logical_anomalies", 236), ("structural_anomalies", 255)):
            photo(root / f"test/{kind}/{place:03d}.png")
            mask(root / f"ground_truth/{kind}/{place:03d}/000.png", value=value)
            mask(root / f"ground_truth/{kind}/{place:03d}/001.png", value=value)


def btech(root: Path) -> None:
    for place in range(3):
        photo(root / f"train/ok/{place:04d}.bmp")
        photo(root / f"test/ok/{place:04d}.bmp")
        photo(root / f"test/ko/{place:04d}.bmp")
        mask(root / f"ground_truth/ko/{place:04d}.png")


def kolektor(root: Path) -> None:
    for place in range(3):
        photo(root / f"train/good/{place}.png")
        photo(root / f"test/good/{place}.png")
        photo(root / f"test/bad/{place}.jpg")
        mask(root / f"test/bad/{place}_label.bmp")


@pytest.mark.parametrize(
    ("layout", "counts"),
    [
        (mvtec_ad_2, (3, 3, 6)),
        (mvtec_ad_2_masks_beside, (3, 3, 6)),
        (mvtec_loco, (3, 3, 9)),
        (btech, (3, 0, 6)),
        (kolektor, (3, 0, 6)),
    ],
)
def test_public_layouts_are_read_as_they_come(
    layout: Callable[[Path], None], counts: tuple[int, ...], tmp_path: Path
) -> None:
    layout(tmp_path)
    data = open_data(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == counts
    assert {item.is_defective for item in data.test} == {True, False}
    assert all((item.mask is not None) == item.is_defective for item in data.test)
    assert [item.path for item in open_tests(tmp_path, FolderRules()).test] == [item.path for item in data.test]
    assert report(tmp_path).facts["masks"]["left_over"] == []
    left = report(tmp_path).doubts
    assert len(left) == (layout is mvtec_ad_2), left  # its private test images have no labels


@pytest.fixture
def visa(tmp_path: Path) -> Path:
    root = tmp_path / "visa" / "candle"
    for place in range(10):
        photo(root / f"Data/Images/Normal/{place:04d}.JPG")
    rows = []
    for place in range(3):
        photo(root / f"Data/Images/Anomaly/{place:03d}.JPG")
        mask(root / f"Data/Masks/Anomaly/{place:03d}.png", value=1 + place)
        image, drawn = (f"candle/Data/{kind}/Anomaly/{place:03d}" for kind in ("Images", "Masks"))
        rows.append((f"{image}.JPG", "chunk of wax missing,melded" if place else "melded", f"{drawn}.png"))
    normal = [(f"candle/Data/Images/Normal/{place:04d}.JPG", "normal", "") for place in range(10)]
    write_list(root / "image_anno.csv", ("image", "label", "mask"), [*normal, *rows])
    return root


def write_list(file: Path, header: tuple[str, ...], rows: list[tuple[str, ...]], delimiter: str = ",") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines, delimiter=delimiter).writerows([header, *rows])
    return file


def visa_split(root: Path) -> Path:
    rows = [
        ("candle", "test" if place < 3 else "train", "normal", f"candle/Data/Images/Normal/{place:04d}.JPG", "")
        for place in range(10)
    ]
    rows += [
        (
            "candle",
            "test",
            "anomaly",
            *(f"candle/Data/{kind}/Anomaly/{place:03d}" + end for kind, end in (("Images", ".JPG"), ("Masks", ".png"))),
        )
        for place in range(3)
    ]
    return write_list(root.parent / "split_csv/1cls.csv", ("object", "split", "label", "image", "mask"), rows)


def test_visa_is_read_as_it_comes(visa: Path) -> None:
    data = open_data(visa)
    assert (len(data.train), len(data.test)) == (8, 5)
    assert any("every fifth normal image is for testing: 2 of 10" in note for note in data.notes)
    assert {item.label for item in data.test} == {"good", "melded", "chunk of wax missing,melded"}
    assert all((item.mask is not None) == item.is_defective for item in data.test)
    assert [item.path for item in open_tests(visa, FolderRules()).test] == [item.path for item in data.test]

    listed = visa_split(visa)
    data = open_data(visa)
    assert (len(data.train), len(data.test)) == (7, 6)
    assert sorted(item.path.name for item in data.test if not item.is_defective) == [f"{n:04d}.JPG" for n in range(3)]
    by_list = open_data(listed)
    assert {item.path for item in by_list.train} == {item.path for item in data.train}
    assert {(item.path, item.mask) for item in by_list.test} == {(item.path, item.mask) for item in data.test}
    assert len(open_data(visa / "image_anno.csv").test) == 3


def test_a_folder_of_many_parts_is_no_folder_of_good_images(tmp_path: Path) -> None:
    for part in ("bottle", "screw"):
        photo(tmp_path / part / "train/good/0.png")
        photo(tmp_path / part / "test/crack/0.png")
    with pytest.raises(DataError, match=r"holds a folder bottle/test, as data do that are split; give .*bottle, or"):
        open_data(tmp_path)


@pytest.mark.parametrize("names", [("train", "val"), ("Training",), ("valid",)])
def test_a_detectors_data_are_no_folder_of_good_images(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        photo(tmp_path / "images" / name / "0.png")
        (tmp_path / "labels" / name).mkdir(parents=True)
        (tmp_path / "labels" / name / "0.txt").write_text("0 .5 .5 .1 .1")
    with pytest.raises(DataError, match=rf"holds a folder images/{names[0]}, as data do that are split; give"):
        open_data(tmp_path)


def test_a_list_of_several_objects_is_no_data_of_one_model(visa: Path) -> None:
    listed = visa_split(visa)
    with listed.open("a", encoding="utf-8") as lines:
        lines.write("pcb1,train,normal,candle/Data/Images/Normal/0004.JPG,\n")
    with pytest.raises(DataError, match=r"lists 2 objects \(candle, pcb1"):
        open_data(listed)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_list_has_the_columns_that_people_write(delimiter: str, root: Path) -> None:
    rows = [(f"train/good/{place}.png", "", "OK", "shift 1") for place in range(4)]
    rows += [(f"test/crack/{place}.png", f"ground_truth/crack/{place}_mask.png", "crack", "") for place in range(2)]
    data = open_data(write_list(root / "list.csv", ("Image", "Mask", "Class", "Remark"), rows, delimiter))
    assert (len(data.train), len(data.test)) == (4, 2)
    assert all(item.mask is not None and item.label == "crack" for item in data.test)
    assert any("not used: Remark" in note for note in data.notes)


def test_digests_are_read_once_for_the_report_and_the_work(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests, read = FileDigests(), []
    monkeypatch.setattr("patchcore_edge.data.digests.file_sha256", lambda path: read.append(path) or str(path))
    report_data(open_data(root), digests, pixels=False)
    for item in open_data(root).train:
        digests(item.path)
    assert len(read) == len(set(read)) == 8


def test_masks_within_a_kinds_folder_are_no_defective_images(root: Path) -> None:
    shutil.move(root / "ground_truth" / "crack", root / "test" / "crack" / "masks")
    (root / "ground_truth").rmdir()
    told = str(report(root))
    assert "crack 2" in told
    assert "2 of 2 defective images have one; 2 beside their photos" in told


@pytest.mark.parametrize("with_train", [True, False])
def test_what_lies_beside_the_splits_or_among_masks_and_is_not_used_is_said(with_train: bool, root: Path) -> None:
    for place in range(2):
        (root / f"ground_truth/crack/{place}_mask.png").unlink()
        (root / f"ground_truth/crack/{place}.npy").write_bytes(b"\x93NUMPY")
        mask(root / "annotations" / "crack" / f"{place}.png")
    if not with_train:
        shutil.rmtree(root / "train")
    told = str(report(root))
    assert "2 files in folders that the layout has no place for (annotations with 2)" in told
    assert "2 files other than images (ground_truth/crack/0.npy, ground_truth/crack/1.npy)" in told


def test_pictures_that_a_fit_will_refuse_are_counted_by_their_headers(root: Path) -> None:
    whole = Image.fromarray(RANDOM.integers(0, 256, (20, 30, 3), np.uint8))
    for suffix in ("tif", "gif", "webp", "png"):
        whole.save(root / f"train/good/several.{suffix}", save_all=True, append_images=[whole.rotate(180)])
    photo(root / "train/good/thin.png", (7, 400))
    told = str(report(root))
    assert "4 images with several pictures in one file cannot be used and will be skipped" in told
    assert "1 image of less than 8x8 pixels cannot be used and will be skipped (train/good/thin.png)" in told


@pytest.mark.skipif(sys.platform == "win32", reason="such a name cannot be")
def test_names_that_would_move_the_cursor_do_not(root: Path) -> None:
    photo(root / "train" / "good" / "a\x1b[2J\nb.png", (7, 7))
    told = str(report(root))
    assert "\x1b" not in told
    assert "a\ufffd[2J\ufffdb.png" in told
