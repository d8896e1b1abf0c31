"""A threshold keeps what it promises of new parts and batches, catches what it can, and says what is wrong with it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchcore_edge.thresholds import Caught, GoodScores, calibrate, calibrate_good, describe
from patchcore_edge_runtime.errors import ConfigError

DRAWS = 600


def heavy_tailed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.exp(rng.normal(size=shape)).astype(np.float32)


def rate_above(threshold: np.ndarray | float) -> np.ndarray:
    """Of scores as ``heavy_tailed`` draws them."""
    from scipy.stats import norm

    return np.asarray(norm.sf(np.log(threshold)))


def synthetic(scores: np.ndarray, factor: float = 2.0) -> Caught:
    return Caught(synthetic=(scores * factor).astype(np.float32))


@pytest.mark.parametrize("n", [20, 60, 150])
def test_without_a_rate_the_default_keeps_the_bound_it_states(n: int) -> None:
    rng = np.random.default_rng(0)
    realised, stated = [], []
    for _ in range(DRAWS):
        scores = heavy_tailed(rng, (n,))
        thresholds, facts = calibrate_good(GoodScores(scores, scores), None, "", caught=synthetic(scores))
        realised.append(rate_above(thresholds.image))
        stated.append(facts.supported_fpr)
    assert np.mean(realised) <= np.mean(stated) + 4 * np.std(realised) / np.sqrt(DRAWS)
    assert max(stated) <= 0.05 + 0.5 / (n + 1)


def test_the_default_spends_a_rate_only_where_it_catches_defects() -> None:
    scores = np.r_[np.linspace(1, 2, 59), 5].astype(np.float32)
    names = tuple(f"{i:02d}.png" for i in range(60))
    seen = GoodScores(scores, scores, names)
    weak, plain = (Caught(synthetic=np.full(100, value, np.float32)) for value in (3.0, 9.0))
    spent, facts = calibrate_good(seen, None, "", caught=weak)
    assert spent.image < 2.1
    assert facts.synthetic_recall == 1
    assert "would catch 0%" in facts.reason
    kept, facts = calibrate_good(seen, None, "", caught=plain)
    assert kept.image > 5
    assert "catches as many" in facts.reason


def test_without_defects_to_weigh_by_the_default_takes_the_rate_nearest_to_5_percent() -> None:
    scores = np.arange(1, 101, dtype=np.float32)
    thresholds, facts = calibrate(scores, scores, None, "")
    assert facts.supported_fpr == pytest.approx(5 / 101)
    assert thresholds.image == pytest.approx(96 * 1.001)


def test_an_image_that_train_found_unlike_the_others_sets_no_default_threshold_where_another_can() -> None:
    scores = np.r_[np.linspace(1, 2, 59), 5].astype(np.float32)
    names = tuple(f"{i:02d}.png" for i in range(60))
    plain = Caught(synthetic=np.full(100, 9.0, np.float32))
    good = GoodScores(scores, scores, names, suspects=frozenset({"59.png"}))
    thresholds, facts = calibrate_good(good, None, "", caught=plain)
    assert thresholds.image < 2.1
    assert facts.set_by == "58.png"


def test_an_outlier_that_has_to_set_the_threshold_is_named_with_the_threshold_without_it() -> None:
    scores = np.r_[np.linspace(1, 2, 11), 5].astype(np.float32)
    names = tuple(f"{i:02d}.png" for i in range(12))
    good = GoodScores(scores, scores, names, suspects=frozenset({"11.png"}))
    for rate in (None, 0.01):
        thresholds, facts = calibrate_good(good, rate, "")
        assert thresholds.image > 5
        assert facts.threshold_without == pytest.approx(2 * 1.001)
        assert any("11.png sets the threshold" in one and "outliers.html" in one for one in facts.warnings)
        assert "11.png sets it" in describe(thresholds, facts)


def test_an_image_far_above_all_others_is_named_though_nobody_suspected_it() -> None:
    scores = np.r_[np.linspace(1, 2, 59), 5].astype(np.float32)
    good = GoodScores(scores, scores, tuple(f"{i:02d}.png" for i in range(60)))
    assert any("59.png alone" in one for one in calibrate_good(good, 0.001, "")[1].warnings)
    even = GoodScores(scores[:59], scores[:59], good.names[:59])
    assert not any("alone" in one for one in calibrate_good(even, 0.001, "")[1].warnings)


def test_a_threshold_that_lets_most_synthetic_defects_pass_is_a_warning() -> None:
    scores = np.linspace(1, 2, 60).astype(np.float32)
    weak = Caught(synthetic=np.r_[np.full(70, 1.5), np.full(30, 3)].astype(np.float32))
    thresholds, facts = calibrate_good(GoodScores(scores, scores), 0.02, "", caught=weak)
    assert facts.synthetic_recall == pytest.approx(0.3)
    assert any("Most synthetic defects would pass" in one for one in facts.warnings)
    assert "catches 30% of 100 synthetic defects" in describe(thresholds, facts)


@pytest.mark.parametrize(("n", "few"), [(20, True), (60, False)])
def test_few_parts_are_said_to_be_few(n: int, few: bool) -> None:
    scores = np.linspace(1, 2, n).astype(np.float32)
    assert any("are few" in one for one in calibrate(scores, scores, None, "")[1].warnings) is few


def test_copies_promise_nothing_more() -> None:
    """59 tiles copied eight times over gave 'at most 0.21 %'."""
    rng = np.random.default_rng(0)
    realised = []
    for _ in range(DRAWS // 4):
        once = heavy_tailed(rng, (59,))
        scores, part = np.repeat(once, 8), np.repeat(np.arange(59), 8)
        thresholds, facts = calibrate_good(GoodScores(scores, scores, (), part), 0.002, "")
        assert (facts.n, facts.images) == (59, 472)
        assert facts.supported_fpr == pytest.approx(1 / 60)
        assert not facts.supports_target
        assert "472 good images of 59 different parts" in describe(thresholds, facts)
        realised.append(rate_above(thresholds.image))
    assert np.mean(realised) <= 1 / 60 + 4 * np.std(realised) / np.sqrt(len(realised))


def of_batches(rng: np.random.Generator, batches: int, each: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Scores whose level differs from batch to batch as much as within one."""
    level = rng.normal(size=(batches, 1))
    scores = np.exp(level + rng.normal(size=(batches, each))).astype(np.float32).ravel()
    return scores, tuple(f"lot {b}" for b in range(batches) for _ in range(each))


def test_over_many_draws_the_rate_of_new_batches_is_kept_and_that_of_mixed_parts_would_not_have_been() -> None:
    rng = np.random.default_rng(0)
    target, realised, ignored = 0.1, [], []
    for _ in range(DRAWS):
        scores, batches = of_batches(rng, 12, 10)
        new, _ = of_batches(rng, 1, 200)
        kept, facts = calibrate_good(GoodScores(scores, scores, (), None, batches), target, "")
        mixed, _ = calibrate(scores, scores, target, "")
        assert facts.batches == 12
        assert facts.new_batch_fpr <= target
        realised.append((new > kept.image).mean())
        ignored.append((new > mixed.image).mean())
    assert np.mean(realised) <= target + 4 * np.std(realised) / np.sqrt(DRAWS)
    assert np.mean(ignored) > np.mean(realised)


def test_too_few_batches_for_a_rate_are_said_to_be_too_few() -> None:
    rng = np.random.default_rng(0)
    scores, batches = of_batches(rng, 4, 30)
    thresholds, facts = calibrate_good(GoodScores(scores, scores, (), None, batches), 0.05, "")
    assert not facts.supports_target
    assert thresholds.image > scores.max()
    assert facts.new_batch_fpr == pytest.approx(1 / 5)
    text = describe(thresholds, facts)
    assert "4 batches are too few for the 5.000% asked for, which takes at least 19" in text
    assert "of a new batch at most 20.0%" in text


def test_parts_of_unknown_batches_are_promised_for_their_own_batch_only() -> None:
    scores = np.linspace(1, 2, 60).astype(np.float32)
    assert "of the same batch" in describe(*calibrate(scores, scores, 0.05, ""))


@given(st.integers(2, 200), st.floats(0.005, 0.5), st.integers(0, 2**31))
def test_the_trade_off_rises_in_threshold_and_falls_in_rates(n: int, target: float, seed: int) -> None:
    scores = heavy_tailed(np.random.default_rng(seed), (n,)) + 1
    facts = calibrate_good(GoodScores(scores, scores), target, "", caught=synthetic(scores, 1.3))[1]
    points = facts.trade_off
    assert 1 <= len(points) <= 100
    for one, other in pairwise(points):
        assert one.threshold <= other.threshold
        assert one.expected_fpr > other.expected_fpr
        assert one.fpr_upper_bound > other.fpr_upper_bound
        assert one.synthetic_recall >= other.synthetic_recall
    assert all(point.expected_fpr <= point.fpr_upper_bound for point in points)


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match="finite"):
        GoodScores(np.array([np.nan], np.float32), np.array([1], np.float32))


def test_engine_fit_on_a_plain_folder_says_that_there_are_no_thresholds(
    tiny_data: Path, tiny_weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from patchcore_edge.data import Folder
    from patchcore_edge.engine import Engine
    from patchcore_edge.models import Patchcore

    small = Patchcore.configure_pre_processor((64, 64))
    model = Patchcore("resnet18", pre_processor=small, weights=tiny_weights, coreset_sampling_ratio=0.25)
    Engine("cpu").fit(model, Folder(tiny_data / "train" / "good"))
    assert any("no thresholds" in message for message in caplog.messages)
    assert model.post_processor is not None
    assert model.post_processor.thresholds is None

    other = Patchcore("resnet18", pre_processor=small, weights=tiny_weights, coreset_sampling_ratio=0.25)
    Engine("cpu").fit(other, Folder(tiny_data / "train" / "good", val_split_ratio=0.4))
    assert other.post_processor is not None
    assert other.post_processor.thresholds is not None
