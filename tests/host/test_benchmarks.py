"""The comparison with the peer changes only what it says it changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patchcore_edge.data import DataModule, MVTec
from patchcore_edge.engine import Engine
from patchcore_edge.evaluator import Scores, collect_scores

pytest.importorskip("elpv_dataset", reason="the benchmarks need the package elpv-dataset: pip install '.[demo]'")

from benchmarks.accuracy import _first_defects
from benchmarks.peer_anomalib import Pipeline, fit_and_score
from benchmarks.works import Work, elpv


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
