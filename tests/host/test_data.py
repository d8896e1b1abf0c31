"""Images as people have them: layouts, splits, odd formats, broken files."""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import TINY_BACKBONE, spawn_cli
from PIL import Image

from patchcore_edge.data import CATEGORIES, Folder, ImageDataset, ImageItem, MVTec, hold_out, prediction_items
from patchcore_edge.data.decoded_files import DecodedFiles
from patchcore_edge.data.file_names import distinct_names, picture_names
from patchcore_edge.jobs.calibrate import calibrate_run
from patchcore_edge.jobs.evaluate import evaluate_run
from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.images.files import read_image
from patchcore_edge_runtime.images.preprocess import PreprocessSpec, as_bgr8

SPEC = PreprocessSpec(height=32, width=32)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def test_a_missing_mvtec_dataset_says_where_it_comes_from_and_how_to_lay_it_out(tmp_path: Path) -> None:
    assert len(CATEGORIES) == 15
    for category in CATEGORIES:
        with pytest.raises(DataError) as refusal:
            MVTec(tmp_path, category)
        text = str(refusal.value)
        for word in (category, "mvtec.com", "train/good", "test/<defect>", "ground_truth"):
            assert word in text


def test_an_unknown_category_lists_those_that_are_there(tiny_data: Path) -> None:
    with pytest.raises(DataError, match=r"no category 'bottel'; it has discs, and MVTec AD .*bottle, cable"):
        MVTec(tiny_data.parent, "bottel")


def test_mvtec_finds_every_split_and_mask(tiny_data: Path) -> None:
    data = MVTec(tiny_data.parent, "discs")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [12, 10, 12]
    assert all((item.mask is not None) == item.is_defective for item in data.test)


def test_a_validation_split_is_held_out_seeded_and_disjoint(tiny_data: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_data / "train", tmp_path / "train")
    splits = [MVTec(tmp_path, "", val_split_ratio=0.25, seed=seed) for seed in (0, 0, 1)]
    for data in splits:
        assert len(data.validation) == 3
        assert len(data.train) == 9
        assert not set(data.train) & set(data.validation)
    assert splits[0].validation == splits[1].validation != splits[2].validation


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 2.0])
def test_a_split_that_leaves_nothing_to_fit_on_is_refused(ratio: float) -> None:
    with pytest.raises(ConfigError, match="hold out"):
        hold_out([ImageItem(Path("a")), ImageItem(Path("b"))], ratio, 0)


def test_a_small_share_still_holds_one_out_and_a_large_one_leaves_one() -> None:
    items = [ImageItem(Path(name)) for name in "abc"]
    assert [len(part) for part in hold_out(items, 0.01, 0)] == [2, 1]
    assert [len(part) for part in hold_out(items, 0.99, 0)] == [1, 2]
    with pytest.raises(ConfigError, match="cannot be split"):
        hold_out(items[:1], 0.5, 0)


def test_a_folder_takes_abnormal_images_and_masks(tiny_data: Path) -> None:
    data = Folder(tiny_data, "train/good", "test/scratch", "test/good", "ground_truth/scratch", val_split_ratio=0.5)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [6, 6, 12]
    defective = [item for item in data.test if item.is_defective]
    assert len(defective) == 6
    assert all(item.mask is not None and item.mask.stem == f"{item.path.stem}_mask" for item in defective)


@pytest.mark.parametrize("folder", ["normal_dir", "abnormal_dir", "normal_test_dir", "mask_dir"])
def test_a_folder_that_is_not_there_is_named(folder: str, tiny_data: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        Folder(tiny_data / "train" / "good", **{folder: "nowhere"})


def test_formats_follow_the_stated_rule(picture: np.ndarray, tmp_path: Path) -> None:
    grey, alpha = picture[..., 0], np.full_like(picture[..., :1], 255)
    deep = picture.astype(np.uint16) * 257
    hole = alpha.copy()
    hole[:10] = 0
    on_black = picture * (hole > 0)
    cases = {
        "color": (picture, picture),
        "grey": (grey, np.repeat(picture[..., :1], 3, 2)),
        "opaque": (np.dstack([picture, alpha]), picture),
        "hole": (np.dstack([picture, hole]), on_black),
        "deep": (deep, picture),
        "deep_grey": (deep[..., 0], np.repeat(picture[..., :1], 3, 2)),
        "deep_opaque": (np.dstack([deep, np.full_like(deep[..., :1], 65535)]), picture),
        "deep_hole": (np.dstack([deep, hole.astype(np.uint16) * 257]), on_black),
    }
    for name, (stored, expected) in cases.items():
        for suffix in (".png", ".tif"):
            path = tmp_path / (name + suffix)
            assert cv2.imwrite(str(path), stored)
            np.testing.assert_array_equal(as_bgr8(read_image(path)), expected, err_msg=path.name)


def test_transparency_is_laid_on_black_in_every_form_that_files_have(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rgb, alpha = rng.integers(0, 256, (16, 24, 3), np.uint8), np.full((16, 24), 255, np.uint8)
    alpha[:8], alpha[8:10] = 0, 128
    grey, turned = rgb[..., 0] | 1, Image.Exif()
    turned[274] = 6
    whole, two = Image.fromarray(np.dstack([rgb, alpha])), Image.fromarray(np.dstack([grey, alpha]), "LA")
    blended = (rgb[..., ::-1].astype(int) * alpha[..., None] + 127) // 255
    for name, options in {"a.png": {}, "a.tif": {}, "a.webp": {"lossless": True, "exact": True}}.items():
        whole.save(tmp_path / name, **options)
        assert np.array_equal(as_bgr8(read_image(tmp_path / name)), blended), name
    whole.save(tmp_path / "turned.png", exif=turned)
    assert np.array_equal(as_bgr8(read_image(tmp_path / "turned.png")), np.rot90(blended, -1))
    two.save(tmp_path / "grey.png")
    assert np.array_equal(as_bgr8(read_image(tmp_path / "grey.png"))[..., 0], (grey.astype(int) * alpha + 127) // 255)
    two.save(tmp_path / "grey.tif")
    with pytest.raises(DataError, match=r"grey\.tif has transparency that cannot be decoded"):
        read_image(tmp_path / "grey.tif")
    grey[3, :5] = 8
    Image.fromarray(grey).save(tmp_path / "key.png", transparency=8)
    assert np.array_equal(as_bgr8(read_image(tmp_path / "key.png"))[..., 0], np.where(grey == 8, 0, grey))
    palette = Image.fromarray(rgb).quantize(16)
    palette.save(tmp_path / "palette.png", transparency=3)
    seen = np.asarray(palette.convert("RGB"))[..., ::-1] * (np.asarray(palette) != 3)[..., None]
    assert np.array_equal(as_bgr8(read_image(tmp_path / "palette.png")), seen)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_upright_by_its_exif_orientation(orientation: int, tmp_path: Path) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16], upright[:8, 16:], upright[8:, :16] = 255, (0, 0, 255), (255, 0, 0)
    undo = {  # what a camera stored so that the tag turns it back
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(undo[orientation](upright)), [cv2.IMWRITE_JPEG_QUALITY, 100])
    tag = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([orientation]) + b"\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(tag) + 2).to_bytes(2, "big") + tag
    path = tmp_path / "turned.jpg"
    path.write_bytes(data.tobytes()[:2] + segment + data.tobytes()[2:])
    image = read_image(path)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright)[2:6, 2:14].max() < 30
    assert np.abs(image.astype(int) - upright)[2:6, 18:30].max() < 30


def test_pixels_that_are_not_8_or_16_bit_are_refused_by_name(picture: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "float.tif"
    cv2.imwrite(str(path), picture.astype(np.float32))
    with pytest.raises(DataError, match=r"float\.tif: .*uint8 or uint16"):
        ImageDataset([ImageItem(path)], SPEC).image(0)


@pytest.fixture
def broken(tiny_data: Path, tmp_path: Path) -> list[ImageItem]:
    """Five images of which the second cannot be decoded and the fourth has a broken mask."""
    folder = Path(shutil.copytree(tiny_data / "test" / "scratch", tmp_path / "broken"))
    (folder / "001.png").write_bytes(b"no image")
    (tmp_path / "mask.png").write_bytes(b"no mask")
    masks = {3: tmp_path / "mask.png"}
    return [
        ImageItem(path, "scratch", masks.get(index)) for index, path in enumerate(sorted(folder.iterdir())) if index < 5
    ]


def test_broken_files_are_named_counted_and_left_out(broken: list[ImageItem], caplog: pytest.LogCaptureFixture) -> None:
    dataset = ImageDataset(broken, SPEC)
    with caplog.at_level(logging.WARNING):
        batches = list(dataset.batches(2))
    assert [len(batch.image) for batch in batches] == [2, 1]
    assert [path.name for batch in batches for path in batch.image_path] == ["000.png", "002.png", "004.png"]
    assert "001.png" in caplog.messages[0]
    assert "mask.png" in caplog.messages[1]
    assert caplog.messages[2] == "2 of 5 images were skipped."
    assert len(dataset) == 5
    delivered = torch.cat([batch.image for batch in batches]).numpy()
    for index, image in zip((0, 2, 4), delivered, strict=True):
        np.testing.assert_array_equal(dataset.image(index), image)


def test_strict_stops_at_the_first_broken_file(broken: list[ImageItem]) -> None:
    with pytest.raises(DataError, match=r"001\.png"):
        list(ImageDataset(broken, SPEC).batches(2, strict=True))


def test_nothing_but_broken_files_is_an_error(broken: list[ImageItem]) -> None:
    with pytest.raises(DataError, match="None of 1 images can be used"):
        list(ImageDataset(broken[1:2], SPEC).batches(2))


def test_prediction_takes_what_there_is_and_says_what_is_not(tiny_data: Path, tmp_path: Path) -> None:
    assert len(prediction_items(MVTec(tiny_data, ""))) == 12
    assert len(prediction_items(tiny_data / "test")) == 12
    assert len(prediction_items(str(tiny_data / "test" / "good" / "000.png"))) == 1
    for nothing in (tmp_path, tmp_path / "nowhere", Folder(tiny_data / "train" / "good")):
        with pytest.raises(DataError):
            prediction_items(nothing)


def test_every_job_skips_a_broken_file_and_says_so_unless_strict(
    tiny_data: Path, tiny_weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    for kind in ("train", "validation", "test"):
        (data / kind / "good" / "000.png").write_bytes(b"no image")
    run = tmp_path / "run"
    train = ("train", data, "-o", run, "--backbone", TINY_BACKBONE, "--layers", "layer1", "--weights", tiny_weights)
    done = spawn_cli(*train, "--image-size", 32)
    assert "Fitted 11 images" in done.stdout
    assert "000.png" in done.stderr
    assert "1 of 12 images were skipped" in done.stderr

    with caplog.at_level(logging.WARNING):
        calibrate_run(run, data, 0.1, "cpu")
        evaluation = evaluate_run(run, data, "cpu", tmp_path / "report.html")
    assert "1 of 10 images were skipped." in caplog.messages
    assert "1 of 12 images were skipped." in caplog.messages
    assert evaluation.images == 11
    with pytest.raises(DataError, match=r"000\.png"):
        calibrate_run(run, data, 0.1, "cpu", strict=True)
    with pytest.raises(DataError, match=r"000\.png"):
        evaluate_run(run, data, "cpu", tmp_path / "report.html", strict=True)


def test_a_decoded_file_gives_its_digest_statistics_and_pixels_without_being_opened_again(
    broken: list[ImageItem],
) -> None:
    expected = ImageDataset(broken, SPEC).image(0)
    digest = hashlib.sha256(broken[0].path.read_bytes()).hexdigest()
    frame_size = read_image(broken[0].path).shape[:2]
    with DecodedFiles(broken, SPEC) as files:
        shutil.rmtree(broken[0].path.parent)
        np.testing.assert_array_equal(files.dataset(broken).image(0), expected)
        assert files.digest(broken[0].path) == digest
        assert files.stats(broken[0].path).frame_size == frame_size
        assert [files.is_usable(item.path) for item in broken] == [True, False, True, True, True]
        assert len(files.digest(broken[1].path)) == 64
        with pytest.raises(DataError, match="001"):
            files.pixels(broken[1].path)


def test_pictures_of_equal_names_in_different_folders_keep_apart() -> None:
    lots = [Path(f"data/{lot}/cam1/0.{ending}") for lot in ("lotA", "lotB") for ending in ("png", "jpg")]
    assert [str(name) for name in distinct_names(lots[::2]).values()] == ["lotA/cam1/0.png", "lotB/cam1/0.png"]
    assert [str(name) for name in picture_names(lots[::2]).values()] == ["lotA/cam1/0.png", "lotB/cam1/0.png"]
    assert len(set(picture_names(lots).values())) == 4
    assert [str(name) for name in picture_names([Path("data/test/good/1.jpg")]).values()] == ["good/1.png"]
