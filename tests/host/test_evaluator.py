"""Metrics: AUPRO against its definition, and what is given when the data cannot give one."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from patchcore_edge.data import Batch
from patchcore_edge.metrics.evaluator import (
    Evaluator,
    GroupRates,
    Scores,
    by_group,
    collect_scores,
    evaluate,
    recall_at,
)
from patchcore_edge.metrics.pixel_histogram import PixelHistogram
from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.verdict import Thresholds


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


def sorted_aupro(maps: np.ndarray, masks: np.ndarray, limit: float) -> float:
    """Pixel by pixel in the order of their scores; for scores without ties."""
    weights = np.zeros(masks.shape)
    regions = 0
    for mask, weight in zip(masks, weights, strict=True):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        weight[mask] = 1 / np.bincount(labels.ravel())[labels[mask]]
        regions += count
    order = np.argsort(maps, axis=None)[::-1]
    rejected = np.cumsum(~masks.ravel()[order]) / (~masks).sum()
    overlap = np.cumsum(weights.ravel()[order]) / regions
    return float(np.trapezoid(np.interp(x := np.linspace(0, limit, 200_001), rejected, overlap), x) / limit)


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize(("levels", "tolerance"), [(4, 1e-12), (50, 1e-12), (10**6, 1e-3)])
def test_the_pixel_metrics_are_what_their_definitions_say(limit: float, levels: int, tolerance: float) -> None:
    """Exactly, where different scores are in different bins."""
    rng = np.random.default_rng(levels)
    masks = rng.random((4, 9, 11)) < 0.15
    masks[3] = False
    maps = (np.floor((rng.random(masks.shape) + 0.4 * masks) * levels) / levels).astype(np.float32)
    counts = PixelHistogram.of(maps, masks)
    assert counts.aupro(limit) == pytest.approx(brute_force_aupro(maps, masks, limit), abs=tolerance)
    assert counts.auroc() == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=tolerance)


@pytest.mark.parametrize(("spread", "tolerance"), [(0.001, 5e-4), (0.1, 1e-5), (2.0, 1e-5)])
def test_counting_in_bins_changes_no_metric_that_anyone_would_print(spread: float, tolerance: float) -> None:
    """Half a million pixels; even if all scores lie within a thousandth of each other, which no model's do."""
    rng = np.random.default_rng(0)
    masks = ndimage.uniform_filter(rng.normal(size=(8, 256, 256)), (0, 9, 9)) > 0.15
    maps = (20 * np.exp(spread * (rng.normal(size=masks.shape) + masks))).astype(np.float32)
    counts = PixelHistogram.of(maps, masks)
    assert counts.auroc() == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=tolerance)
    assert counts.aupro(0.3) == pytest.approx(sorted_aupro(maps, masks, 0.3), abs=tolerance)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1.0])
def test_a_map_that_holds_no_distances_is_refused(wrong: float) -> None:
    with pytest.raises(DataError, match="no distance"):
        PixelHistogram().add(np.full((2, 2), wrong, np.float32), np.zeros((2, 2), bool))


def test_no_map_is_held_once_it_is_counted() -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    held: list[int] = []

    def batches(count: int) -> Iterator[Batch]:
        for index in range(count):
            maps = np.full((2, 1, 8, 8), index + 1, np.float32)
            alive.append(weakref.ref(maps))
            masks = torch.zeros(2, 8, 8, dtype=torch.bool)
            masks[1] = True
            paths = (Path(f"good/{index}.png"), Path(f"hole/{index}.png"))
            batch = Batch(
                torch.zeros(2, 8, 8, 3, dtype=torch.uint8), torch.tensor([False, True]), masks, paths
            )._replace(pred_score=torch.tensor([1.0, 2.0]), anomaly_map=torch.from_numpy(maps))
            del maps
            yield batch
            del batch
            held.append(sum(one() is not None for one in alive))

    found = collect_scores(batches(5))
    assert max(held) == 1
    assert not any(one() is not None for one in alive)
    assert found.maps == found.masks == []
    assert list(found.map_medians) == list(found.map_maxima) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert evaluate(found, None).pixel_auroc == 0.5
    assert len(collect_scores(batches(2), keep_maps=True).maps) == 4
    assert collect_scores(batches(2), group_of=lambda path: path.parent.name).groups == ["good", "hole"] * 2


def test_a_perfect_map_scores_1_and_a_constant_one_half_the_limit() -> None:
    masks = np.zeros((2, 8, 8), bool)
    masks[0, 2:4, 2:4] = True
    assert PixelHistogram.of(masks.astype(np.float32), masks).aupro(0.3) == pytest.approx(1.0)
    assert PixelHistogram.of(np.ones(masks.shape, np.float32), masks).aupro(0.3) == pytest.approx(0.15)


def test_small_regions_count_as_much_as_large_ones() -> None:
    masks = np.zeros((1, 20, 20), bool)
    masks[0, :10, :10] = True
    masks[0, 15, 15] = True
    only_large, only_small = np.zeros((2, *masks.shape), np.float32)
    only_large[0, :10, :10] = 1
    only_small[0, 15, 15] = 1
    large, small = (PixelHistogram.of(maps, masks).aupro(0.3) for maps in (only_large, only_small))
    assert large == pytest.approx(small)


def scores(labels: list[bool], masks: list[np.ndarray | None]) -> Scores:
    count = len(labels)
    values = np.arange(count, dtype=np.float32)
    maps = [np.full((8, 8), value, np.float32) for value in values]
    paths = [Path("good") / f"{i}.png" for i in range(count)]
    known = [mask for mask in masks if mask is not None]
    pixels = PixelHistogram.of(maps, known) if len(known) == count else None
    return Scores(paths, ["good"] * count, np.array(labels), values, values, values, pixels)


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


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.05, 0.07, 0.5, 1.0])
def test_recall_at_a_rate_is_the_best_of_all_thresholds_that_keep_it(rate: float) -> None:
    """By trying all of them, with many equal scores; the smallest sets have one image of a kind."""
    rng = np.random.default_rng(0)
    for count in (2, 3, 20, 100, 101, 300):
        labels = rng.random(count) < 0.4
        labels[:2] = True, False
        values = rng.integers(0, count // 2 + 2, count).astype(np.float32)
        cuts = [-1.0, *sorted(set(values.tolist()))]
        kept = [cut for cut in cuts if (values[~labels] > cut).mean() <= rate + 1e-9]
        best = max((values[labels] > cut).mean() for cut in kept)
        assert recall_at(rate, labels, values) == pytest.approx(best)


def test_too_few_good_images_for_a_rate_allow_none_to_be_rejected() -> None:
    labels = np.array([False] * 10 + [True] * 4)
    values = np.array([*range(10), 8.5, 9, 9.5, 20], np.float32)
    assert recall_at(0.01, labels, values) == recall_at(0.05, labels, values) == 0.5
    assert recall_at(0.1, labels, values) == 1.0


def grouped(groups: list[str]) -> Scores:
    """Good images that score 0 to 5 and defective ones that score 6 to 9."""
    made = scores([False] * 6 + [True] * 4, [None] * 10)
    return replace(made, groups=groups)


def test_rates_by_batch_add_up_and_say_what_is_not_known() -> None:
    found = evaluate(grouped(["a", "b"] * 4 + ["", ""]), Thresholds(image=3.5, pixel=1))
    assert found.groups is not None
    assert found.groups == (
        GroupRates("a", 3, 1, 1, 1, 1 / 3, 1.0),
        GroupRates("b", 3, 1, 1, 1, 1 / 3, 1.0),
        GroupRates("", 0, 2, 0, 2, None, 1.0),
    )
    assert json.loads(json.dumps(found.to_dict()))["groups"][0]["group"] == "a"
    (first, *_) = by_group(grouped(["a"] * 10), None)
    assert (first.good, first.rejected, first.recall) == (6, None, None)


def test_without_batches_nothing_is_said_of_any() -> None:
    assert evaluate(grouped([]), None).groups is None
    assert evaluate(grouped([""] * 10), None).to_dict()["groups"] is None
