"""Regions, ignore masks, smallest defects: what a line may ask for on top of the bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import bad_part, good_part
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from patchcore_edge_runtime import ConfigError, Inspector, Thresholds, Verdict, draw_overlay
from patchcore_edge_runtime.inspection.ignore_mask import IgnoreMask
from patchcore_edge_runtime.inspection.regions import find_regions
from patchcore_edge_runtime.inspection.rules import LineRules, judge, masked_score

MIDDLE = [[0.0, 0.0], [1.0, 0.0], [1.0, 0.94], [0.0, 0.94]]
CORNER = [[0.0, 0.0], [0.15, 0.0], [0.15, 0.15], [0.0, 0.15]]
LIMITS = Thresholds(image=2.0, pixel=1.0)


def test_regions_say_where_how_large_and_how_bad() -> None:
    heat = np.zeros((40, 60), np.float32)
    heat[5:10, 10:30] = 2.0
    heat[7, 12] = 3.0
    heat[20:24, 40:44] = 5.0
    first, second = find_regions(heat, heat > 1)
    assert (first.box, first.area, first.peak) == ((40, 20, 4, 4), 16, 5.0)
    assert (second.box, second.area, second.peak, second.peak_at) == ((10, 5, 20, 5), 100, 3.0, (12, 7))
    assert second.contour.min(axis=0).tolist() == [10, 5]
    assert second.contour.max(axis=0).tolist() == [29, 9]
    assert find_regions(heat, heat > 9) == ()


def test_the_regions_of_a_scratch_lie_on_it(tiny_inspector: Inspector) -> None:
    frame = bad_part(3, size=120)
    result = tiny_inspector(frame)
    x, y = result.regions[0].peak_at
    scratch = np.argwhere(frame[..., 0] > 200)
    assert np.abs(scratch - (y, x)).max(axis=1).min() < 12
    assert result.regions[0].peak == pytest.approx(float(result.anomaly_map.max()))
    assert sum(region.area for region in result.regions) == result.pred_mask.sum()


def test_a_defect_under_an_ignore_mask_does_not_count(tiny_bundle: Path, tiny_inspector: Inspector) -> None:
    frame = bad_part()
    open_eyed = tiny_inspector(frame)
    # Limits just below the defect: at 64 pixels its heat reaches every corner.
    limits = Thresholds(image=0.9 * open_eyed.pred_score, pixel=0.9 * float(open_eyed.anomaly_map.max()))
    assert Inspector(tiny_bundle, thresholds=limits)(frame).verdict is Verdict.NG
    masked = Inspector(tiny_bundle, rules=LineRules(ignore=IgnoreMask([MIDDLE]), thresholds=limits))
    result = masked(frame)
    assert result.verdict is Verdict.OK
    assert result.pred_score < 0.9 * open_eyed.pred_score
    assert not result.pred_mask.any()
    assert result.anomaly_map[40, 40] == 0


def test_a_defect_beside_an_ignore_mask_counts_as_before(tiny_bundle: Path, tiny_inspector: Inspector) -> None:
    masked = Inspector(tiny_bundle, rules=LineRules(ignore=IgnoreMask([CORNER])))
    for frame in (bad_part(), good_part()):
        assert masked(frame).verdict is tiny_inspector(frame).verdict
        assert masked(frame).pred_score == pytest.approx(tiny_inspector(frame).pred_score)


def test_a_mask_over_everything_is_an_error(tiny_bundle: Path) -> None:
    everything = IgnoreMask([[[0, 0], [1, 0], [1, 1], [0, 1]]])
    result = Inspector(tiny_bundle, rules=LineRules(ignore=everything))(good_part())
    assert result.verdict is Verdict.ERROR
    assert "ignore" in result.reason


@given(
    arrays(np.float32, (6, 6), elements=st.floats(0, 8, width=32)),
    arrays(np.bool_, (6, 6)).filter(lambda mask: not mask.all()),
    st.floats(0, 20),
)
def test_a_mask_never_hides_what_lies_outside_of_it(heat: np.ndarray, mask: np.ndarray, score: float) -> None:
    seen = masked_score(score, heat, mask, LIMITS)
    assert seen <= score
    if score > LIMITS.image and heat[~mask].max() > LIMITS.pixel * (1 + 1e-6):
        assert LIMITS.judge(seen) is Verdict.NG
    if heat[~mask].max() == heat.max():
        assert seen == score


def test_a_score_that_is_no_number_stays_one_under_a_mask() -> None:
    heat, mask = np.full((4, 4), np.nan, np.float32), np.eye(4, dtype=bool)
    assert LIMITS.judge(masked_score(float("nan"), heat, mask, LIMITS)) is Verdict.ERROR
    heat = np.ones((4, 4), np.float32)
    heat[0, 0] = 3
    assert LIMITS.judge(masked_score(float("nan"), heat, mask, LIMITS)) is Verdict.ERROR


@pytest.mark.parametrize("polygon", [[[0, 0], [1, 1]], [[0, 0], [1, 0], [1, 1.01]], [[0, 0], [1, 0], [1]], []])
def test_a_polygon_that_is_none_is_refused(polygon: list[list[float]]) -> None:
    with pytest.raises(ConfigError, match="three points"):
        IgnoreMask([polygon])


def test_defects_smaller_than_the_line_cares_for_are_not_ng(tiny_bundle: Path, tiny_inspector: Inspector) -> None:
    area = max(region.area for region in tiny_inspector(bad_part()).regions)
    for least, verdict in ((area, Verdict.NG), (area + 1, Verdict.OK)):
        result = Inspector(tiny_bundle, rules=LineRules(min_defect_area=least))(bad_part())
        assert result.verdict is verdict
        assert result.pred_mask.any() == (verdict is Verdict.NG)
    assert "pixels" in result.reason


def test_with_a_smallest_defect_the_map_is_brought_to_the_frames_size_once(
    tiny_bundle: Path, tiny_inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = bad_part(size=150)
    inspector = Inspector(tiny_bundle, rules=LineRules(min_defect_area=20))
    expected = [region.box for region in tiny_inspector(frame).regions if region.area >= 20]
    made: list[tuple[int, int]] = []
    real = cv2.resize

    def spy(image: np.ndarray, size: tuple[int, int], *words: Any, **more: Any) -> np.ndarray:
        if image.dtype == np.float32 and image.ndim == 2 and size == (150, 150):
            made.append(tuple(size))
        return real(image, size, *words, **more)

    monkeypatch.setattr(cv2, "resize", spy)
    result = inspector(frame)
    assert result.verdict is Verdict.NG
    assert [region["box"] for region in result.to_dict()["regions"]] == [list(box) for box in expected]
    draw_overlay(frame, result)
    assert expected
    assert made == [(150, 150)]


def test_one_function_judges_and_depends_on_its_arguments_alone() -> None:
    heat = np.ones((8, 8), np.float32)
    heat[2:4, 2:4] = 3.0
    rules = LineRules(thresholds=Thresholds(image=2.0, pixel=1.5, warn=1.2))
    place = ((8, 8), (0, 0, 8, 8))
    left = IgnoreMask([[[0, 0], [0.6, 0], [0.6, 1], [0, 1]]])
    everything = IgnoreMask([[[0, 0], [1, 0], [1, 1], [0, 1]]])
    cases = [
        (1.0, rules, Verdict.OK, ""),
        (1.5, rules, Verdict.WARN, ""),
        (3.0, rules, Verdict.NG, ""),
        (float("nan"), rules, Verdict.ERROR, "not a finite number"),
        (3.0, replace(rules, min_defect_area=4), Verdict.NG, ""),
        (3.0, replace(rules, min_defect_area=5), Verdict.WARN, "No defect reaches 5 pixels"),
        (3.0, replace(rules, ignore=left), Verdict.WARN, ""),
        (3.0, replace(rules, ignore=everything), Verdict.ERROR, "leave nothing"),
    ]
    for score, asked, verdict, reason in cases:
        before = heat.copy()
        found = judge(score, heat, asked, *place)
        assert found.verdict is verdict
        assert reason in found.reason
        assert bool(found.reason) == bool(reason)
        assert np.array_equal(heat, before)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_map_with_what_is_no_number_is_an_error_whatever_the_score(value: float) -> None:
    """A score that is the largest of the map passes over it, and the defect that it hides."""
    heat = np.ones((8, 8), np.float32)
    heat[3, 3] = value
    found = judge(1.0, heat, LineRules(thresholds=LIMITS), (8, 8), (0, 0, 8, 8))
    assert (found.verdict, np.isnan(found.score)) == (Verdict.ERROR, True)
    assert "map has values that are not finite" in found.reason


def test_a_score_above_the_limit_without_any_region_stays_ng(tiny_bundle: Path, tiny_inspector: Inspector) -> None:
    blind = tiny_inspector.thresholds.model_copy(update={"pixel": 1e6})
    result = Inspector(tiny_bundle, rules=LineRules(min_defect_area=50, thresholds=blind))(bad_part())
    assert result.verdict is Verdict.NG
    assert result.regions == ()


def test_forgiven_defects_warn_where_the_line_has_a_warn_limit(tiny_bundle: Path, tiny_inspector: Inspector) -> None:
    limits = tiny_inspector.thresholds
    warned = limits.model_copy(update={"warn": limits.image * 0.99})
    frame = bad_part()
    whole = frame.shape[0] * frame.shape[1]
    result = Inspector(tiny_bundle, rules=LineRules(min_defect_area=whole, thresholds=warned))(frame)
    assert result.verdict is Verdict.WARN
