"""What the model gets to see: bit depths, shapes, regions of interest, and what is ignored."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import run_cli

from patchcore_edge.data.photo_size import PhotoSizes
from patchcore_edge.data.pixel_facts import pixel_facts
from patchcore_edge.data.synthetic_defects import make_defects
from patchcore_edge.jobs.calibrate import calibrate_run
from patchcore_edge.jobs.evaluate import evaluate_run
from patchcore_edge.jobs.sight import Sight, SightOptions
from patchcore_edge.jobs.train import TrainOptions, train_run
from patchcore_edge.models.ignored import counted_rows
from patchcore_edge.runs.checkpoint import RUN_FILE, load_calibrated, load_calibration, load_run
from patchcore_edge_runtime.bundle.recipe import AugmentOptions
from patchcore_edge_runtime.errors import CheckpointError, ConfigError, DataError

CORNER = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.25), (0.0, 0.25))


def _deep(source: Path, folder: Path, bits: int) -> Path:
    """The good training parts as a camera of so many bits gives them, in files of 16."""
    folder.mkdir(parents=True)
    for path in sorted((source / "train/good").iterdir()):
        levels = cv2.imread(str(path)).astype(np.float64) / 255
        cv2.imwrite(str(folder / path.name), np.rint(levels * ((1 << bits) - 1)).astype(np.uint16))
    return folder


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_the_depth_of_all_images_together_is_taken(bits: int, tmp_path: Path) -> None:
    rng, names = np.random.default_rng(0), []
    for place, share in enumerate((0.2, 0.9, 0.1)):
        values = rng.integers(0, int(share * (1 << bits)), (20, 20), np.uint16)
        names.append(tmp_path / f"{place}{'.tif' if place == 1 else '.png'}")
        cv2.imwrite(str(names[-1]), values)
    cv2.imwrite(str(tmp_path / "eight.png"), np.full((20, 20), 255, np.uint8))
    facts = pixel_facts([*names, tmp_path / "eight.png"])
    assert (facts.images, facts.deep, facts.bit_depth) == (4, 3, bits)
    (said,) = facts.sentences(facts.bit_depth)
    assert f"3 of 4 images have 16 bits a pixel (largest value {facts.largest:,}; the other 1 have 8 bits)" in said
    assert f"{bits} bits are taken" in said


def test_left_aligned_values_use_all_bits_and_photos_of_eight_say_nothing(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (20, 20), np.uint16)
    cv2.imwrite(str(tmp_path / "left.png"), values << 4)
    cv2.imwrite(str(tmp_path / "plain.png"), values.astype(np.uint8))
    assert pixel_facts([tmp_path / "left.png"]).bit_depth == 16
    plain = pixel_facts([tmp_path / "plain.png"])
    assert plain.bit_depth is None
    assert plain.sentences(None) == []


def test_transparent_images_are_counted_and_opaque_alpha_is_none(tmp_path: Path) -> None:
    picture = np.full((20, 20, 4), 255, np.uint8)
    cv2.imwrite(str(tmp_path / "opaque.png"), picture)
    picture[:3, :3, 3] = 0
    cv2.imwrite(str(tmp_path / "hole.png"), picture)
    (said,) = pixel_facts([tmp_path / "opaque.png", tmp_path / "hole.png"]).sentences(None)
    assert said == "1 of 2 images have transparent pixels; they are laid on black."


def test_a_fit_on_12_bits_is_the_fit_on_the_same_8_bits(
    tiny_data: Path, tiny_run: Path, tiny_options: TrainOptions, tmp_path: Path
) -> None:
    said: list[str] = []
    data = _deep(tiny_data, tmp_path / "deep", 12)
    facts = train_run(data, tmp_path / "run", tiny_options, said.append)
    assert facts.preprocess.bit_depth == 12
    assert any("12 bits are taken, 0 to 4,095" in sentence for sentence in said)
    banks = [load_run(run)[0].model.memory_bank for run in (tmp_path / "run", tiny_run)]
    assert torch.equal(*banks)
    cv2.imwrite(str(data / "other.png"), np.full((80, 80, 3), 5000, np.uint16))
    with pytest.raises(DataError, match=r"other\.png: A pixel has the value 5000 where 12 bits end"):
        train_run(data, tmp_path / "run", replace(tiny_options, strict=True, sight=SightOptions(bit_depth=12)))


@pytest.mark.parametrize(("height", "width"), [(80, 1920), (1920, 80), (480, 640), (300, 300), (64, 2048)])
def test_a_default_size_keeps_the_shape(height: int, width: int) -> None:
    photos = PhotoSizes(height, width, True, ((height, width),))
    size = photos.input_size(photos.default_side, 32)
    assert 0.9 < size[1] / size[0] / (width / height) < 1.1
    assert photos.squeezed(size) == 0


def test_squeezing_by_more_than_a_third_is_said_with_what_would_not() -> None:
    said: list[str] = []
    scan = Sight(PhotoSizes(80, 1920, True, ((80, 1920),) * 3))
    assert scan.input_size((256, 256), 32, said.append) == (256, 256)
    (sentence,) = said
    assert "256x256 (height x width) squeezes 3 of 3 pictures" in sentence
    assert "--image-size auto would keep their shape with 64x1536, 1.5 times the work" in sentence
    said.clear()
    assert scan.input_size((80, 1920), 32, said.append) == (80, 1920)
    assert said == []
    mixed = Sight(PhotoSizes(100, 100, False, ((100, 100), (100, 100), (100, 300))))
    mixed.input_size(None, 32, said.append)
    assert "of several shapes: 2 of 100x100, 1 of 300x100" in said[0]
    assert "squeezes 1 of 3" in said[1]


def test_copies_leave_out_wherever_what_is_ignored_may_lie_in_them() -> None:
    ignored = np.zeros((8, 8), np.bool_)
    ignored[:2, :2] = True
    own, copy = counted_rows(ignored, AugmentOptions(kinds=("flip-h",))).reshape(2, 8, 8)
    assert np.array_equal(~own, ignored)
    assert np.array_equal(~copy, ignored | ignored[:, ::-1])
    moved = counted_rows(ignored, AugmentOptions(kinds=("shift",), copies=3)).reshape(4, 8, 8)
    assert not moved[1:, :3, :3].any()
    assert moved[1:, 3:].all()


def test_no_synthetic_defect_lies_where_nothing_counts() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(4)]
    hidden = np.zeros((64, 64), np.bool_)
    hidden[:, :40] = True
    found = list(make_defects(images, 6, hidden=hidden))
    assert len(found) == 24
    assert all((defect.mask & ~hidden).any() for defect in found)


@pytest.fixture(scope="module")
def seen_run(tiny_data: Path, tiny_options: TrainOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fitted on a region of the photos with a corner ignored; not to be changed."""
    run = tmp_path_factory.mktemp("seen") / "run"
    train_run(tiny_data, run, replace(tiny_options, sight=SightOptions(roi=(0, 0, 80, 64), ignore_masks=(CORNER,))))
    calibrate_run(run, tiny_data, 0.1, "cpu")
    return run


def test_a_run_carries_what_counts_and_its_bank_has_nothing_else(seen_run: Path) -> None:
    model, facts = load_run(seen_run)
    assert (facts.preprocess.roi, facts.preprocess.frame_size) == ((0, 0, 80, 64), (80, 80))
    assert facts.ignore_masks == (CORNER,)
    # A quarter of the frame's height is 20 of the region's 64 rows: two whole rows of its eight patches.
    ignored = model.model.ignored.reshape(8, 8)
    assert ignored[:2, :4].all()
    assert int(ignored.sum()) == 8
    assert facts.bank_size == int(0.25 * 12 * 56)
    assert load_calibration(seen_run).view is None


def test_masks_of_defects_follow_the_region_and_what_is_ignored(
    seen_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    warned: list[str] = []
    found = evaluate_run(seen_run, tiny_data, "cpu", tmp_path / "report.html", warn=warned.append)
    assert found.pixel_auroc is not None
    evaluate_run(
        seen_run,
        tiny_data,
        "cpu",
        tmp_path / "report.html",
        sight=SightOptions(ignore_masks=(((0.0, 0.0), (1.0, 0.0), (1.0, 0.6), (0.0, 0.6)),)),
        warn=warned.append,
    )
    assert any("these figures are for the region 0,0,80,64 with 2 ignore masks" in sentence for sentence in warned)


def test_calibrating_for_other_regions_is_said_and_kept(
    tiny_data: Path, tiny_options: TrainOptions, tmp_path: Path
) -> None:
    run, said = tmp_path / "run", list[str]()
    train_run(tiny_data, run, tiny_options)
    calibrate_run(run, tiny_data, 0.1, "cpu", sight=SightOptions(ignore_masks=(CORNER,)), notify=said.append)
    assert any("The run looks at whole pictures; these thresholds are for whole pictures with 1" in one for one in said)
    model, facts, _ = load_calibrated(run)
    assert facts.ignore_masks == ()
    assert model.ignore_masks == (CORNER,)
    assert model.model.ignored.any()


def test_regions_that_cannot_be_are_refused(tiny_data: Path, tiny_options: TrainOptions, tmp_path: Path) -> None:
    def refused(error: type[Exception], match: str, sight: SightOptions) -> None:
        with pytest.raises(error, match=match):
            train_run(tiny_data, tmp_path / "run", replace(tiny_options, sight=sight))

    refused(DataError, "does not fit the photos", SightOptions(roi=(0, 0, 81, 20)))
    refused(ConfigError, "leave nothing", SightOptions(ignore_masks=(((0, 0), (1, 0), (1, 1), (0, 1)),)))
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for side in (64, 80):
        cv2.imwrite(str(mixed / f"{side}.png"), np.random.default_rng(0).integers(0, 256, (side, side), np.uint8))
    with pytest.raises(ConfigError, match="photos of one size"):
        train_run(
            mixed,
            tmp_path / "run",
            replace(tiny_options, sight=SightOptions(roi=(0, 0, 50, 50), ignore_masks=(CORNER,))),
        )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--bit-depth", "7"), "--bit-depth is '7'"),
        (("--roi", "1,2,3"), "is not X,Y,WIDTH,HEIGHT"),
        (("--ignore-mask", "0,0 2,0 1,1"), "fractions of the frame"),
        (("--image-size", "80y1920"), "is not auto, SIZE or HEIGHTxWIDTH"),
    ],
)
def test_words_that_mean_nothing_are_refused_before_the_work(
    words: tuple[str, str], why: str, tiny_data: Path, tmp_path: Path
) -> None:
    done = run_cli("train", tiny_data, "-o", tmp_path / "run", *words)
    assert done.returncode == 2
    assert why in done.stderr


def test_a_run_whose_layers_were_named_in_another_order_is_not_read_wrongly(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    text = (run / RUN_FILE).read_text()
    first, second = '"layer2"', '"layer3"'
    (run / RUN_FILE).write_text(text.replace(first, "?").replace(second, first).replace("?", second))
    with pytest.raises(CheckpointError, match="order that counts no more"):
        load_run(run)
