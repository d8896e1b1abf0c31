"""The plan of the fast search: it survives defects it was not chosen on, and costs what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from patchcore_edge.data.synthetic_defects import synthetic_defects
from patchcore_edge.models import Patchcore
from patchcore_edge.runs.facts import Calibration
from patchcore_edge_export.gate.parity import LIMITS
from patchcore_edge_export.graph.edge_model import EdgeModel
from patchcore_edge_export.graph.fast_search import FastPlan
from patchcore_edge_export.planning.cost import search_cost
from patchcore_edge_export.planning.plan import plan_search
from patchcore_edge_export.planning.sample import (
    coarse_estimates,
    estimates_of,
    planning_sample,
    usual_offsets,
)
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.verdict import Thresholds


@pytest.fixture(scope="module")
def uncommon(images: list[Image]) -> list[Image]:
    return synthetic_defects(images, seed=7)


def test_the_plan_survives_defects_it_was_not_chosen_on(
    fitted: Patchcore, calibration: Calibration, images: list[Image], uncommon: list[Image]
) -> None:
    choice = plan_search(fitted, images, calibration.thresholds, LIMITS["fp32"].fast_map)
    assert choice.holds
    assert choice.plan.patches < 64, "all patches of these images would be no search at all"
    edge = EdgeModel(fitted, choice.plan)
    for image in uncommon:
        frame = torch.from_numpy(image)[None]
        expected = fitted(frame)
        with torch.inference_mode():
            score, anomaly_map = edge(frame)
        torch.testing.assert_close(score, expected.pred_score, rtol=1e-4, atol=0)
        floor = max(float(expected.anomaly_map.max()), calibration.thresholds.pixel)
        assert float((anomaly_map - expected.anomaly_map).abs().max()) <= LIMITS["fp32"].fast_map * floor


def test_a_tighter_map_takes_more_work_and_an_impossible_one_is_not_promised(
    fitted: Patchcore, calibration: Calibration, images: list[Image]
) -> None:
    loose, tight, never = (plan_search(fitted, images, calibration.thresholds, limit) for limit in (0.5, 0.01, -1.0))
    assert loose.holds
    bank, patches = fitted.model.memory_bank, 64
    assert search_cost(bank, patches, tight.plan) > search_cost(bank, patches, loose.plan)
    assert not never.holds


def test_synthetic_defects_are_the_same_each_time_and_stay_local(images: list[Image]) -> None:
    made, again, others = (synthetic_defects(images, seed) for seed in (0, 0, 1))
    for image, one, two, other in zip(images, made, again, others, strict=True):
        assert np.array_equal(one, two)
        assert not np.array_equal(one, other)
        changed = (one != image).any(2).mean()
        assert 0 < changed < 0.3


def test_offsets_are_what_good_images_lack_at_a_place_and_each_is_judged_without_its_own(
    fitted: Patchcore, calibration: Calibration, images: list[Image]
) -> None:
    with torch.inference_mode():
        sample = planning_sample(fitted, images, calibration.thresholds)
        space = coarse_estimates(fitted.model.memory_bank, sample, 32, 16)
        offsets = usual_offsets(space, sample)
        lacking = sample.distances - space.refined
        good = lacking[: sample.good]
        toward = offsets[1] / ((good.amax(0) + good.amin(0)) / 2)
        torch.testing.assert_close(toward, toward[:1].expand_as(toward))
        assert 0.5 < float(toward[0]) < 1
        _, shown = estimates_of(space, space.plan, sample)
        for image in (0, sample.good):
            others = usual_offsets(space, sample, without=0)[1]
            torch.testing.assert_close(shown[image], (space.refined[image] + others).clamp_min(0))
    assert sample.good == len(images)
    assert offsets.shape == (2, sample.patches.shape[1])


def test_a_single_good_image_teaches_no_offsets(fitted: Patchcore, images: list[Image]) -> None:
    with torch.inference_mode():
        sample = planning_sample(fitted, images[:1], Thresholds(image=1.0, pixel=1.0))
        space = coarse_estimates(fitted.model.memory_bank, sample, 32, 16)
        assert not usual_offsets(space, sample, without=0).any()


def test_what_a_plan_spares_is_in_its_cost() -> None:
    bank = torch.empty(16_384, 384, device="meta")
    whole = FastPlan(128, 16, 0.3, 2.0)
    listed = replace(whole, shortlist=64)
    few = replace(listed, candidates=32)
    costs = [search_cost(bank, 1024, plan) for plan in (None, whole, listed, few)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0] / 10
    small = torch.empty(64, 384, device="meta")
    assert search_cost(small, 1024, few) > search_cost(small, 1024, listed), "naming candidates costs more than all 64"
