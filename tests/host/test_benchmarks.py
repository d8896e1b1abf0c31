"""The comparison with the peer changes only what it says it changes."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchcore_edge.data import DataModule, MVTec
from patchcore_edge.engine import Engine
from patchcore_edge.metrics.evaluator import evaluate
from patchcore_edge.metrics.scores import Scores, collect_scores
from patchcore_edge.runs.checkpoint import load_calibration, load_run

pytest.importorskip("elpv_dataset", reason="the benchmarks need the package elpv-dataset: pip install '.[demo]'")

from benchmarks import accuracy, accuracy_tuned, corruptions, held_out, robustness
from benchmarks.compare import mahalanobis_scores
from benchmarks.int8_trials import with_bank_of
from benchmarks.pages import write_page
from benchmarks.peer_anomalib import Pipeline, fit_and_score
from benchmarks.quantization import _converted
from benchmarks.works import Work, elpv, elpv_by_module


@pytest.fixture(scope="module")
def work(tiny_data: Path, tiny_weights: Path) -> Work:
    data = MVTec(tiny_data, "")
    data.train, data.test = data.train[:4], data.test[4:8]
    return Work("discs", data, "resnet18", ("layer2", "layer3"), 64, 0.25, tiny_weights)


@pytest.fixture(scope="module")
def ours(work: Work) -> Scores:
    model, engine = work.model(), Engine("cpu", progress=False)
    engine.fit(model, work.data)
    return collect_scores(
        engine.stream(model, DataModule.dataset(work.data.test, model.pre_processor.spec)), keep_maps=True
    )


def test_the_plain_pipeline_is_ours(work: Work, ours: Scores) -> None:
    scores = fit_and_score(work, Pipeline())[2]
    np.testing.assert_allclose(scores.scores, ours.scores, rtol=1e-4)
    np.testing.assert_allclose(scores.maps, ours.maps, rtol=1e-4)


def test_another_upsampling_changes_maps_alone(work: Work, ours: Scores) -> None:
    scores = fit_and_score(work, Pipeline(repeated=True))[2]
    np.testing.assert_allclose(scores.scores, ours.scores, rtol=1e-4)
    assert 1e-3 < np.abs(np.stack(scores.maps) / np.stack(ours.maps) - 1).max() < 0.5


@pytest.mark.parametrize("step", ["antialias", "projected"])
def test_another_step_changes_scores_but_little(step: str, work: Work, ours: Scores) -> None:
    scores = fit_and_score(work, Pipeline(**{step: True}))[2]
    assert not np.allclose(scores.scores, ours.scores, rtol=1e-4)
    np.testing.assert_allclose(scores.scores, ours.scores, rtol=0.3)


@pytest.mark.parametrize(("kind", "good", "defective"), [("mono", 588, 313), ("poly", 920, 402)])
def test_the_solar_cells_are_all_there_and_split_once(kind: str, good: int, defective: int) -> None:
    data = elpv(kind)
    labels = [item.is_defective for item in data.test]
    assert (len(data.train), labels.count(False), labels.count(True)) == (300, good - 300, defective)
    assert len({item.path for item in (*data.train, *data.test)}) == good + defective


@pytest.mark.parametrize(("kind", "defective"), [("mono", 31), ("poly", 133)])
def test_by_module_no_tested_cell_is_listed_before_a_fitted_one(kind: str, defective: int) -> None:
    data, random_split = elpv_by_module(kind), elpv(kind)
    assert sum(item.is_defective for item in data.test) == defective
    assert sum(not item.is_defective for item in data.test) == sum(not item.is_defective for item in random_split.test)
    assert max(item.path.name for item in data.train) < min(item.path.name for item in data.test)


def test_the_bank_is_embedded_anew_from_the_images_it_came_from(work: Work, tmp_path: Path) -> None:
    data = MVTec(work.data.root, "")
    fitted = held_out.fit(replace(work, data=data))
    assert (len(fitted.train), len(fitted.held), len(fitted.test)) == (9, 3, len(data.test))
    graph = _converted(fitted.model, tmp_path)
    bank = fitted.model.model.memory_bank
    again = with_bank_of(fitted, graph, graph).model.memory_bank
    assert (again - bank).norm() <= 1e-4 * bank.norm()
    fitted.model.coreset_rows[0], fitted.model.coreset_rows[-1] = (
        fitted.model.coreset_rows[-1],
        fitted.model.coreset_rows[0],
    )
    with pytest.raises(RuntimeError, match="rows"):
        with_bank_of(fitted, graph, graph)


def test_a_page_keeps_what_was_written_by_hand(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    write_page("page.md", ["old\n"], tmp_path)
    page.write_text(page.read_text(encoding="utf-8") + "\n- It means this.\n", encoding="utf-8")
    write_page("page.md", ["new\n"], tmp_path)
    assert page.read_text(encoding="utf-8") == "new\n\n## What it means\n\n- It means this.\n"


def test_a_spread_is_the_mean_of_all_seeds_and_the_outermost_ones() -> None:
    assert accuracy.spread([0.5, 0.75, 0.7], ".2f") == "0.65 (0.50–0.75)"
    assert accuracy.spread([0.5, None], ".2f") == "–"


def test_what_was_detected_is_kept_by_work_and_seed(work: Work, tmp_path: Path) -> None:
    kept = accuracy.Kept(tmp_path)
    found = dict(accuracy.measure(work, 1, None))
    assert set(found) == {accuracy.REFERENCE, accuracy.DEFAULT, accuracy.CENTERED}
    for side, figures in found.items():
        kept.add(work, 1, side, figures)
    assert accuracy.Kept(tmp_path).load(work, 1) == found
    assert kept.load(work, 2) == {}


def test_a_row_has_the_seeds_that_it_was_measured_with(work: Work) -> None:
    ours = accuracy.Figures(64, 0.9, 0.5, 0.6, None, None)
    first = {accuracy.REFERENCE: ours, accuracy.FULL_BANK: replace(ours, bank=1000, image_auroc=0.8)}
    rows = accuracy.section(work, [first, {accuracy.REFERENCE: replace(ours, bank=65)}]).splitlines()
    assert [row.strip("| ").split(" | ")[:4] for row in rows[-2:]] == [
        [accuracy.FULL_BANK, "1", "1,000", "0.8000"],
        [accuracy.REFERENCE, "2", "64–65", "0.9000 (0.9000–0.9000)"],
    ]


def test_a_page_keeps_the_rows_that_were_not_measured_again(work: Work) -> None:
    ours = accuracy.Figures(64, 0.9, 0.5, 0.6, None, None)
    before = "# Page\n" + accuracy.section(work, [{accuracy.REFERENCE: ours, accuracy.TUNED: ours}])
    now = accuracy.section(work, [{accuracy.TUNED: replace(ours, bank=32)}], before).splitlines()
    assert [row.strip("| ").split(" | ")[:3] for row in now[-2:]] == [
        [accuracy.REFERENCE, "1", "64"],
        [accuracy.TUNED, "1", "32"],
    ]


def test_the_peer_is_given_the_pixels_that_ours_takes(work: Work, ours: Scores) -> None:
    model = work.model()
    maps = np.stack(ours.maps)

    class Fake:
        def run(self, task: str, **given: Any) -> dict[str, Any]:
            assert task == "mahalanobis"
            assert np.load(given["train"]).shape == (4, 64, 64, 3)
            assert np.load(given["test"]).dtype == np.uint8
            assert given["network"].is_file()
            np.savez(given["output"], scores_2=ours.scores, maps_2=maps, scores_4=2 * ours.scores, maps_4=maps)
            return {"fits": [{"batch": size, "bank": [64, 7]} for size in given["batch_sizes"]]}

    first, second = mahalanobis_scores(Fake(), model, work.data, ours, 0, [2, 4])
    np.testing.assert_array_equal(second.scores.scores, 2 * ours.scores)
    assert first.bank == (64, 7)
    assert evaluate(first.scores, None).pixel_auroc == evaluate(ours, None).pixel_auroc


def test_tune_sees_training_images_alone(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(words)
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(accuracy_tuned.subprocess, "run", run)
    folder = accuracy_tuned.tuned(work, 3, tmp_path)
    data = Path(asked[0][asked[0].index("tune") + 1])
    assert [link.resolve() for link in sorted(data.iterdir())] == [item.path.resolve() for item in work.data.train]
    assert asked[0][-2:] == ["--weights", str(work.weights)]
    assert str(folder) in asked[0]


@pytest.mark.parametrize("colour", [True, False])
def test_a_change_keeps_the_shape_and_changes_the_picture(colour: bool) -> None:
    grey = np.uint8(np.add.outer(np.arange(64), np.arange(80)))
    frame = np.stack([grey, grey[::-1], 255 - grey], 2) if colour else grey
    for name, change in corruptions.conditions():
        found = change(frame, np.random.default_rng(0))
        assert (found.shape, found.dtype) == (frame.shape, np.uint8), name
        assert np.array_equal(found, frame) == (name == "as they are"), name


def test_changes_are_as_strong_as_published() -> None:
    frame = np.full((64, 64), 100, np.uint8)
    frame[:, 32:] = 200
    chance = np.random.default_rng(0)
    changes = dict(corruptions.conditions())
    assert set(np.unique(changes["brightness 3"](frame, chance))) == {176, 255}  # cut off: 176.5 as the package has it
    assert set(np.unique(changes["contrast 1"](frame, chance))) == {130, 170}
    assert abs(changes["Gaussian noise 2"](frame, chance)[:, :32].std() - 0.12 * 255) < 1
    blurred = changes["defocus 1"](frame, chance)[32].astype(int)
    assert np.count_nonzero(np.diff(blurred)) == 7  # a disc of radius 3
    spot = np.zeros((64, 64), np.uint8)
    spot[28:36, 28:36] = 200
    moved = changes["shifted by 10%"](spot, chance)
    moved[moved < 2] = 0  # what came into view has a noise of its own
    centre = np.array([axis @ moved.ravel() / moved.sum() for axis in np.indices(moved.shape).reshape(2, -1)])
    np.testing.assert_allclose(np.sort(np.abs(centre - 31.5)), [0, 6.4], atol=0.05)


def test_the_line_judges_changed_images(tiny_run: Path, tiny_data: Path) -> None:
    model, _ = load_run(tiny_run)
    calibration = load_calibration(tiny_run)
    assert calibration is not None
    items = robustness.tested(MVTec(tiny_data, ""))
    as_it_is, *_ = (change for _, change in corruptions.conditions())
    found = robustness.outcome(model, calibration, items, as_it_is)
    assert (found.good_error, found.good_ok > 0.5, found.auroc > 0.9) == (0, True, True)
    dark = robustness.outcome(model, calibration, items, lambda frame, _: np.zeros_like(frame))
    assert (dark.good_ok, dark.good_error, dark.defects_stopped) == (0, 1, 1)
