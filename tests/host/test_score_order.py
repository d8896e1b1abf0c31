"""A stretch of files that scores unlike the rest is named; an order that means nothing raises few alarms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchcore_edge.metrics.score_order import FALSE_ALARMS, file_order, find_shift


def names(count: int) -> list[str]:
    return [f"{index:03d}.png" for index in range(count)]


@pytest.mark.parametrize("count", [12, 20, 60, 300])
@pytest.mark.parametrize("scores", ["normal", "heavy tails", "ties"])
def test_false_alarms_stay_below_the_stated_rate(count: int, scores: str) -> None:
    rng = np.random.default_rng(count)
    draw = {
        "normal": lambda: rng.normal(30, 2, count),
        "heavy tails": lambda: np.exp(rng.standard_cauchy(count).clip(-9, 9)),
        "ties": lambda: rng.integers(0, 3, count).astype(float),
    }[scores]
    alarms = sum(find_shift(draw(), names(count)) is not None for _ in range(2000))
    # Three standard deviations of the count itself.
    assert alarms / 2000 <= FALSE_ALARMS + 3 * np.sqrt(FALSE_ALARMS / 2000)


@pytest.mark.parametrize(("start", "stop"), [(120, 174), (0, 60), (250, 300), (0, 200)])
@pytest.mark.parametrize("by", [8.0, -8.0])
def test_a_stretch_that_scores_otherwise_is_found_and_named(start: int, stop: int, by: float) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(33, 3, 300)
    scores[start:stop] += by
    found = find_shift(scores.astype(np.float32), names(300))
    assert found is not None
    assert found.p_value < 1e-4
    # Of two stretches that are all there is, the shorter is named.
    expected = (200, 300, by < 0) if stop == 200 else (start, stop, by > 0)
    assert found.higher == expected[2]
    assert abs(found.start - expected[0]) <= 6
    assert abs(found.stop - expected[1]) <= 6
    assert (found.inside > found.outside) == found.higher
    assert found.is_large
    words = "higher" if found.higher else "lower"
    assert str(found).startswith(f"Images {found.first} to {found.last} score {words} than the rest: median ")


def test_the_sentence_names_files_and_medians() -> None:
    scores = np.full(300, 33.0)
    scores[120:174] = 41
    assert str(find_shift(scores, names(300))) == (
        "Images 120.png to 173.png score higher than the rest: median 41.00 against 33.00."
    )


def test_a_drift_is_a_shift_too() -> None:
    scores = np.random.default_rng(1).normal(30, 1, 100) + np.linspace(0, 3, 100)
    found = find_shift(scores, names(100))
    assert found is not None
    assert 0 in (found.start, 100 - found.stop)


def test_a_shift_within_what_good_parts_differ_by_is_not_large() -> None:
    scores = np.random.default_rng(2).normal(30, 1, 400)
    scores[100:250] += 0.8
    found = find_shift(scores, names(400))
    assert found is not None
    assert not found.is_large


@given(st.lists(st.sampled_from([0.0, 1.0, 1.5, 1e30]) | st.floats(0, 100, width=32), max_size=40), st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_any_scores_will_do_and_only_their_order_counts(values: list[float], factor: int) -> None:
    scores = np.array(values)
    found, scaled = find_shift(scores, names(len(scores))), find_shift(scores * factor, names(len(scores)))
    assert (found is None) == (scaled is None)
    if found is not None:
        assert 0 <= found.start < found.stop <= len(scores)
        assert (found.start, found.stop) != (0, len(scores))


@pytest.mark.parametrize("count", [0, 1, 2, 9, 50])
def test_no_images_few_or_equal_ones_have_no_shift(count: int) -> None:
    assert find_shift(np.full(count, 30.0), names(count)) is None
    if count < 10:
        assert find_shift(np.arange(count, dtype=float), names(count)) is None


def test_files_come_in_the_order_in_which_people_count() -> None:
    paths = [Path(name) for name in ("b/1.png", "a/10.png", "a/9.png", "a/x.png", "a/9b.png")]
    assert [str(paths[index]) for index in file_order(paths)] == [
        "a/9.png",
        "a/9b.png",
        "a/10.png",
        "a/x.png",
        "b/1.png",
    ]
