"""Recipes: feature spaces, score rules, and training data that is not clean."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_cli
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from patchcore_edge.engine import Engine
from patchcore_edge.fit.feature_store import FeatureFile
from patchcore_edge.jobs.calibrate import calibrate_run
from patchcore_edge.jobs.train import TrainOptions, train_run
from patchcore_edge.models.feature_space import pool_moments, pool_origin, projected
from patchcore_edge.runs.checkpoint import load_run
from patchcore_edge_runtime.bundle.recipe import PcaOptions, ScoreRule
from patchcore_edge_runtime.errors import ConfigError


def features(rows: int, dimensions: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(rows, dimensions)) @ rng.normal(size=(dimensions, dimensions)) + 50).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 12), st.sampled_from([0.5, 0.9, 1.0, 3.0]), st.integers(0, 100))
def test_a_feature_space_is_scikit_learns_pca(dimensions: int, kept: float, seed: int) -> None:
    rows = features(500, dimensions, seed)
    wanted = PCA(kept if kept < 1 else min(int(kept), dimensions)).fit(rows.astype(np.float64))
    pool = torch.from_numpy(rows)
    space = pool_moments(pool, pool_origin(pool)).space(PcaOptions(dimensions=kept))
    assert space.axes.shape == (dimensions, wanted.n_components_)
    expected = np.abs(wanted.transform(rows))
    # The sign of a direction is anyone's choice.
    np.testing.assert_allclose(space(pool).abs().numpy(), expected, atol=1e-3 * expected.max())


def test_whole_whitening_gives_all_directions_the_same_spread() -> None:
    pool = torch.from_numpy(features(4000, 8))
    white = pool_moments(pool, pool_origin(pool)).space(PcaOptions(dimensions=8, whitening=1.0))(pool)
    spreads = white.std(0)
    assert float(spreads.min() / spreads.max()) == pytest.approx(1, abs=1e-3)


def test_the_moments_of_parts_add_up_and_can_be_taken_off_again() -> None:
    pool = torch.from_numpy(features(900, 6))
    origin = pool_origin(pool)
    first, rest = (pool_moments(pool, origin, rows) for rows in (slice(0, 300), slice(300, 900)))
    whole = pool_moments(pool, origin)
    assert torch.allclose((first + rest).products, whole.products, rtol=1e-5)
    assert torch.allclose((whole - first).products, rest.products, rtol=1e-5)
    assert (whole - first).count == 600


def test_a_pool_on_disk_has_the_space_of_the_same_pool_in_memory(tmp_path: Path) -> None:
    rows = features(700, 5)
    rows.tofile(tmp_path / "pool.bin")
    file, pool = FeatureFile(tmp_path / "pool.bin", 700, 5, "float32"), torch.from_numpy(rows)
    spaces = [pool_moments(one, pool_origin(one)).space(PcaOptions(dimensions=3)) for one in (file, pool)]
    assert torch.equal(spaces[0].axes, spaces[1].axes)
    on_disk, in_memory = (projected(one, spaces[0]) for one in (file, pool))
    assert on_disk.shape == in_memory.shape == (700, 3)
    assert torch.allclose(on_disk[100:200], in_memory[100:200])


@pytest.mark.parametrize("wrong", [{"dimensions": 0}, {"dimensions": 2.5}, {"dimensions": 5, "whitening": 1.5}])
def test_a_space_that_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        PcaOptions(**wrong)


@pytest.mark.parametrize("rule", list(ScoreRule))
@pytest.mark.parametrize("pca", [None, PcaOptions(dimensions=0.95, whitening=0.5)])
def test_a_run_keeps_its_recipe_and_tells_defects(
    rule: ScoreRule, pca: PcaOptions | None, tiny_data: Path, tiny_options: TrainOptions, tmp_path: Path
) -> None:
    facts = train_run(tiny_data, tmp_path / "run", replace(tiny_options, score=rule, pca=pca))
    assert (facts.score, facts.pca) == (rule, pca)
    result = calibrate_run(tmp_path / "run", tiny_data / "train" / "good", 0.1, "cpu")
    model, again = load_run(tmp_path / "run")
    assert again == facts
    engine = Engine("cpu", progress=False)
    good, bad = (engine.predict(model, tiny_data / "test" / kind) for kind in ("good", "scratch"))
    largest_good = max(float(batch.pred_score.max()) for batch in good)
    assert min(float(batch.pred_score.min()) for batch in bad) > largest_good
    # Out of fold, the training images score as new good ones do.
    assert float(np.median(result.scored.good.scores)) < result.thresholds.image < 3 * largest_good
    for batch in good:
        if rule is ScoreRule.MAP_MAX:
            assert torch.equal(batch.pred_score, batch.anomaly_map.amax((1, 2, 3)))
    if pca is not None:
        assert model.model.memory_bank.shape[1] < 384


@pytest.mark.parametrize(("outliers", "left"), [("drop", None), (2, 12)])
def test_defective_images_among_the_good_ones_can_be_left_out(
    outliers: str | int, left: int | None, tiny_data: Path, tiny_options: TrainOptions, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(tiny_data / "train" / "good", tmp_path / "data"))
    for number, path in enumerate(sorted((tiny_data / "test" / "scratch").iterdir())[:2]):
        shutil.copy(path, data / f"bad{number}.png")
    said: list[str] = []
    facts = train_run(data, tmp_path / "run", replace(tiny_options, outliers=outliers), said.append)
    (sentence,) = [line for line in said if "were left out" in line]
    assert "bad0.png" in sentence
    assert "bad1.png" in sentence
    assert len(facts.train_sha256) + len(facts.left_out_sha256) == 14
    assert left is None or len(facts.train_sha256) == left
    # `calibrate` on the same folder knows them again, and calibrates without them.
    result = calibrate_run(tmp_path / "run", data, 0.2, "cpu")
    assert result.scored.method == "cross-fitted"
    assert not any(item.path.name.startswith("bad") for item in result.scored.items)


def test_dropping_nearly_all_images_is_refused(tiny_data: Path, tiny_options: TrainOptions, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="drop fewer"):
        train_run(tiny_data, tmp_path / "run", replace(tiny_options, outliers=11))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--whitening", "0.5"], "--whitening needs --pca"),
        (["--pca", "2.5"], "--pca and --whitening"),
        (["--outliers", "some"], "give keep, drop or a number"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_in_one_sentence(
    words: list[str], said: str, tiny_data: Path, tmp_path: Path
) -> None:
    done = run_cli("train", tiny_data, "-o", tmp_path / "run", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_command_lines_defaults_follow_the_photos_and_say_so(
    tiny_data: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    words = ["--backbone", "resnet18", "--layers", "layer2,layer3", "--weights", tiny_weights, "--device", "cpu"]
    done = run_cli("train", tiny_data, "-o", tmp_path / "run", *words)
    assert done.returncode == 0, done.stderr
    assert "The photos are 80x80 pixels; the model takes 256x256 (--image-size changes it)" in done.stdout
    _, facts = load_run(tmp_path / "run")
    assert (facts.preprocess.input_size, facts.score) == ((256, 256), ScoreRule.MAP_MAX)
