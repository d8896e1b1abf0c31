"""What the benchmarks make of the smallest work there is: the lines of their pages, with figures in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from patchcore_edge.data import DataModule, MVTec
from patchcore_edge_runtime.images.files import read_image
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.inspection.openvino_backend import made_for

pytest.importorskip("elpv_dataset", reason="the benchmarks need the package elpv-dataset: pip install '.[demo]'")

from benchmarks import (
    bank_sizes,
    copies,
    dirty,
    features,
    few_images,
    fit_profile,
    gains,
    half_precision,
    plain_folder,
    recipes,
    scale_fit,
    search,
    synthetic,
    thresholds,
    two_backbones,
)
from benchmarks.works import Work

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def work(tiny_data: Path, tiny_weights: Path) -> Work:
    return Work("discs", MVTec(tiny_data, ""), "resnet18", ("layer2", "layer3"), 64, 0.25, tiny_weights)


@pytest.fixture(scope="module")
def frames(tiny_data: Path) -> list[Image]:
    folders = ("train/good", "test/scratch")
    return [read_image(file) for folder in folders for file in sorted((tiny_data / folder).iterdir())[:3]]


def lines_of(text: str) -> list[list[str]]:
    """The cells of each line of a page's tables, without heads and rules."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert rows
    assert "nan" not in text
    return rows


def test_search_judges_every_plan_as_the_export_does(work: Work) -> None:
    rows = {cells[0]: cells for cells in lines_of(search.section(work))}
    assert rows["float32 torch"][4:8] == ["0e+00, 0e+00", "0e+00, 0e+00", "0e+00", "0 of 12"]
    assert rows["exact"][-1] == "passes"
    assert "without ρ, estimates in the running" in rows


@pytest.mark.skipif("bf16" not in made_for("CPU"), reason="needs a CPU that computes in bf16")
def test_half_precision_is_measured_and_timed(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_precision, "TIMED", 2)
    rows = lines_of(half_precision._section(work, 1))[1:]
    assert [len(cells) for cells in rows] == [8] * 5


def test_a_plain_folder_is_exported_with_either_search(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_folder, "PRECISIONS", ("fp32",))
    rows = lines_of(plain_folder._section(work))[1:]
    assert [cells[0] for cells in rows] == ["fp32, exact", "fp32, fast"]


def test_thresholds_are_drawn_tried_and_held_against_later_modules(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    data = work.data
    many = replace(work, data=DataModule(data.root, [*data.train, *data.validation], test=data.test))
    monkeypatch.setattr(thresholds, "FEW", (6,))
    monkeypatch.setattr(thresholds, "works_by_module", lambda: [many])
    assert len(lines_of("\n".join(thresholds.draws(work, 1)))) == 2
    assert len(lines_of("\n".join(thresholds.modules()))) == 2
    assert len(lines_of("\n".join(thresholds.trials()))) == 6


def test_copies_are_looked_for_in_every_kind_of_second_picture(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "PARTS", 3)
    rows = lines_of("\n".join(copies.rows(work)))
    assert len(rows) == len(copies.AGAIN)
    assert rows[0][1] == "the same"
    # So few are not looked at by features; by their hashes they are.
    assert all(cell.startswith("3 of 3") for cell in rows[0][3:])


def test_few_images_are_tried_with_and_without_augmentation(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"IMAGES": (4,), "SEEDS": (0,), "TESTED": 4}.items():
        monkeypatch.setattr(few_images, name, value)
    monkeypatch.setattr(few_images, "AUGMENTS", {name: few_images.AUGMENTS[name] for name in ("off", "shift, turn")})
    assert [cells[:2] for cells in lines_of("\n".join(few_images.table(work)))] == [["4", "off"], ["4", "shift, turn"]]


def test_maps_of_two_backbones_are_averaged(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_backbones, "HELD_OUT", 3)
    maps = two_backbones.maps_of(work)
    assert maps.dtype == np.float32
    assert "AUPRO" in two_backbones.figures(work, np.mean([maps, maps], 0))


def test_dirty_training_images_are_kept_and_dropped(work: Work) -> None:
    assert [cells[1:3] for cells in lines_of("\n".join(dirty.rows(work)))] == [
        ["clean", "keep"],
        ["clean", "drop"],
        ["1 defective", "keep"],
        ["1 defective", "drop"],
        ["1 defective", "1"],
    ]


def test_a_recipe_is_fitted_judged_and_timed(work: Work) -> None:
    shared = recipes.features(work)
    rows = [recipes.row(shared, name, recipes.SPACES[name]) for name in ("as they are", "PCA .9, a = .5")]
    dimensions = [int(cells[1]) for cells in lines_of("\n".join(rows))]
    assert dimensions[1] < dimensions[0] == 384


def test_banks_become_smaller_and_smaller(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank_sizes, "SHARES", (0.1, 0.25))
    sizes = [bank for _, bank, _ in bank_sizes._smaller_and_smaller(replace(work, ratio=0.25))]
    assert sizes == [192, 77]


def test_synthetic_defects_are_scored_beside_real_ones(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "SOURCES", 4)
    found = synthetic.measure(work)
    assert [len(found.good), len(found.real), len(found.scores)] == [9, 6, 12]
    lines_of(synthetic.tables([found]).replace("–", "-"))


def test_the_gains_of_a_selection_are_taken_back_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "cell_pool.npy", np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32))
    monkeypatch.setattr(gains, "REPEATS", 1)
    text = gains.coresets(tmp_path)
    assert len(lines_of(text)[1:]) == 4
    assert "A product lowers a row's distance" in text


def test_the_imports_of_a_fit_are_shared_out_among_packages() -> None:
    *packages, rest = lines_of(fit_profile.import_profile())[1:]
    assert "torch" in {cells[0] for cells in packages}
    assert rest[0].endswith("others")


def test_features_are_timed_by_torch_and_by_openvino(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(features, "IMAGES", 2)
    features.compare("resnet18", ("layer2", "layer3"), 64, tiny_weights)
    assert "ms an image" in capsys.readouterr().out


def test_images_for_large_fits_all_differ(tmp_path: Path) -> None:
    scale_fit.make_images(None, tmp_path / "good", 3)
    assert len({file.read_bytes() for file in (tmp_path / "good").iterdir()}) == 3
