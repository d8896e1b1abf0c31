"""The comparison with the peer changes only what it says it changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from patchcore_edge.data import DataModule, MVTec
from patchcore_edge.engine import Engine
from patchcore_edge.metrics.evaluator import Scores, collect_scores

pytest.importorskip("elpv_dataset", reason="the benchmarks need the package elpv-dataset: pip install '.[demo]'")

from benchmarks import held_out
from benchmarks.accuracy import _first_defects, rows_of, run
from benchmarks.int8_trials import with_bank_of
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


def test_the_first_defects_keep_all_good_images(ours: Scores) -> None:
    chosen = _first_defects(ours, 1)
    assert chosen.labels.sum() == 1
    assert (~chosen.labels).sum() == (~ours.labels).sum()
    assert len(chosen.scores) == len(chosen.paths) == len(chosen.map_maxima)


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


def test_without_the_peer_its_rows_stay_as_they_were(work: Work, tmp_path: Path) -> None:
    page = tmp_path / "accuracy.md"
    assert rows_of(page) == {}
    first = run(work, None, {})
    assert len(first) == 1
    cells = first[0].split(" | ")
    peer = " | ".join(["| discs, *anomalib*", *cells[1:]])
    page.write_text("# Accuracy\n\n" + "\n".join([*first, peer]) + "\n", encoding="utf-8")
    assert run(work, None, rows_of(page)) == [*first, peer]


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


def test_a_page_keeps_what_was_written_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(held_out, "__file__", str(tmp_path / "benchmarks" / "held_out.py"))
    page = tmp_path / "docs" / "page.md"
    held_out.write_page("page.md", ["old\n"])
    page.write_text(page.read_text(encoding="utf-8") + "\n- It means this.\n", encoding="utf-8")
    held_out.write_page("page.md", ["new\n"])
    assert page.read_text(encoding="utf-8") == "new\n\n## What it means\n\n- It means this.\n"
