"""Metrics: AUPRO against its definition, and what is given when the data cannot give one."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from patchcore_edge.evaluator import Evaluator, Scores, aupro, evaluate
from patchcore_edge_runtime.errors import ConfigError


def brute_force_aupro(maps: np.ndarray, masks: np.ndarray, limit: float) -> float:
    """Threshold by threshold, region by region."""
    regions = []
    for index, mask in enumerate(masks):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [(index, labels == number + 1) for number in range(count)]
    curve = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        above = maps >= threshold
        overlap = np.mean([above[index][region].mean() for index, region in regions])
        curve.append((above[~masks].mean(), float(overlap)))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x1 <= limit:
            area += (x1 - x0) * (y0 + y1) / 2
        elif x0 < limit:
            y = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            area += (limit - x0) * (y0 + y) / 2
    return area / limit


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("levels", [4, 50, 10**6])
def test_aupro_is_what_its_definition_says(limit: float, levels: int) -> None:
    rng = np.random.default_rng(levels)
    masks = rng.random((4, 9, 11)) < 0.15
    masks[3] = False
    maps = (np.floor((rng.random(masks.shape) + 0.4 * masks) * levels) / levels).astype(np.float32)
    assert aupro(maps, masks, limit) == pytest.approx(brute_force_aupro(maps, masks, limit), abs=1e-12)


def test_a_perfect_map_scores_1_and_a_constant_one_half_the_limit() -> None:
    masks = np.zeros((2, 8, 8), bool)
    masks[0, 2:4, 2:4] = True
    assert aupro(masks.astype(np.float32), masks) == pytest.approx(1.0)
    assert aupro(np.ones(masks.shape, np.float32), masks) == pytest.approx(0.15)


def test_small_regions_count_as_much_as_large_ones() -> None:
    masks = np.zeros((1, 20, 20), bool)
    masks[0, :10, :10] = True
    masks[0, 15, 15] = True
    only_large, only_small = np.zeros((2, *masks.shape), np.float32)
    only_large[0, :10, :10] = 1
    only_small[0, 15, 15] = 1
    assert aupro(only_large, masks) == pytest.approx(aupro(only_small, masks))


def scores(labels: list[bool], masks: list[np.ndarray | None]) -> Scores:
    count = len(labels)
    values = np.arange(count, dtype=np.float32)
    maps = [np.full((8, 8), value, np.float32) for value in values]
    paths = [Path("good") / f"{i}.png" for i in range(count)]
    return Scores(paths, ["good"] * count, np.array(labels), values, values, maps, masks)


def test_what_the_data_cannot_give_is_none() -> None:
    empty, full = np.zeros((8, 8), bool), np.ones((8, 8), bool)
    for labels, masks in (([False, True], [empty, None]), ([False, False], [empty, empty]), ([True, True], [full] * 2)):
        result = evaluate(scores(labels, masks), None)
        assert result.pixel_auroc is result.aupro is None
    assert evaluate(scores([False, True], [empty, full]), None).aupro == pytest.approx(1.0)


@pytest.mark.parametrize("limit", [0.0, 1.1])
def test_a_limit_outside_its_range_is_refused(limit: float) -> None:
    with pytest.raises(ConfigError, match="AUPRO"):
        Evaluator(limit)
