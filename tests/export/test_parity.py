"""What counts as a deviation: thresholds are the scale, and nothing that misses a defect passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchcore_edge.models import InferenceBatch
from patchcore_edge_export.gate.deviation import Reference, Scales
from patchcore_edge_export.gate.limits import UNBOUNDED
from patchcore_edge_export.gate.parity import LIMITS, Sample, Trial, compare, judge
from patchcore_edge_export.gate.separation import Separation, separation
from patchcore_edge_runtime.bundle.manifest import ParityReport
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.verdict import Thresholds

THRESHOLDS = Thresholds(image=10.0, pixel=5.0)
SIZE = 4


def image(score: float) -> Image:
    """A picture of which ``model`` says this score, in tenths."""
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    pixels[0, 0, 0] = round(score * 10)
    return pixels


def model(images: Tensor) -> InferenceBatch:
    """Scores are in the first pixel; maps have half the score in the middle and nothing elsewhere."""
    scores = images[:, 0, 0, 0].float() / 10
    maps = torch.zeros(len(images), 1, SIZE, SIZE)
    maps[:, 0, 1, 1] = scores / 2
    return InferenceBatch(scores, maps)


class Altered:
    """A graph that answers as ``model`` does, and then changes it."""

    def __init__(
        self,
        score: Callable[[NDArray[np.float32]], NDArray[np.float32]] = np.array,
        anomaly_map: Callable[[NDArray[np.float32]], NDArray[np.float32]] = np.array,
    ) -> None:
        self.score, self.map = score, anomaly_map

    def infer(self, images: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        scores, maps = model(torch.from_numpy(images))
        return self.score(scores.numpy()), self.map(maps.numpy())


GOOD = [Sample(image(score)) for score in np.linspace(3, 9, 30)]
MADE = [Sample(image(score), synthetic=True) for score in np.linspace(4, 16, 100)]
SEEN = [replace(sample, seen=True) for sample in GOOD[:5]]


def facts(
    graph: Altered, precision: str = "int8", samples: list[Sample] | None = None, scale: float = 1.0
) -> ParityReport:
    return compare(
        model,
        graph,
        GOOD + MADE if samples is None else samples,
        batch=1,
        device="X",
        precision=precision,
        thresholds=THRESHOLDS,
        graph_thresholds=THRESHOLDS.scaled(scale),
    )


def test_a_pure_rescaling_with_thresholds_of_its_own_is_no_deviation() -> None:
    found = facts(Altered(lambda score: score * 1.7, lambda values: values * 1.7), scale=1.7)
    assert found.passed
    assert found.max_score_deviation < 1e-6
    assert found.max_map_deviation < 1e-6
    assert found.verdict_flips == 0


def test_a_rescaling_without_is_refused() -> None:
    found = facts(Altered(lambda score: score * 1.7, lambda values: values * 1.7))
    assert any("a score is" in failure for failure in found.failures)
    assert any("a heatmap is" in failure for failure in found.failures)


def test_what_deviates_near_zero_counts_against_the_threshold() -> None:
    """Rounding where the bank nearly holds a patch: all of the score, and nothing of the threshold."""
    near = [Sample(image(0.1)), *GOOD]
    found = facts(
        Altered(lambda score: score + np.float32(5e-4), lambda values: values + np.float32(2e-3)), "fp32", near
    )
    assert found.passed, found.failures
    assert found.max_score_deviation == pytest.approx(5e-5, rel=0.1)
    assert found.max_map_deviation == pytest.approx(4e-4, rel=0.1)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_refused_on_seen_images_as_on_others(precision: str, value: float) -> None:
    def spoiled(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(values == values.max(), np.float32(value), values)

    for samples in (GOOD + MADE, SEEN):
        for graph in (Altered(score=spoiled), Altered(anomaly_map=spoiled)):
            found = facts(graph, precision, samples)
            assert not found.passed
            part = found if found.seen is None else found.seen
            assert UNBOUNDED in (part.max_score_deviation, part.max_map_deviation)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_graph_that_scores_low_where_torch_scores_high_is_refused(precision: str) -> None:
    found = facts(Altered(lambda score: np.minimum(score, np.float32(9.9))), precision)
    assert any("a score is" in failure for failure in found.failures)
    assert any("get another verdict" in failure for failure in found.failures)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("seen", [False, True])
def test_a_map_that_misses_a_defect_is_refused(precision: str, seen: bool) -> None:
    samples = [replace(sample, seen=seen) for sample in GOOD + MADE]
    found = facts(Altered(anomaly_map=lambda values: np.minimum(values, np.float32(4.9))), precision, samples)
    assert any("heatmap is" in failure for failure in found.failures), found.failures


@pytest.mark.parametrize("precision", ["int8", "fp16", "fp32"])
def test_defects_that_drown_among_good_parts_are_refused_though_no_score_deviates_much(precision: str) -> None:
    """Each score moves by less than INT8 may: good ones up, defective ones down."""

    def squeezed(score: NDArray[np.float32]) -> NDArray[np.float32]:
        return (score + (8.5 - score) * np.float32(0.2) + np.where(score < 8.5, 0.8, -0.8)).astype(np.float32)

    found = facts(Altered(squeezed), precision)
    assert found.synthetic_auroc_torch is not None
    assert found.synthetic_auroc_graph is not None
    assert found.synthetic_auroc_graph < found.synthetic_auroc_torch - 0.005
    assert any("good parts and synthetic defects are told apart less well" in failure for failure in found.failures)
    assert any("are found at 1 % false rejects" in failure for failure in found.failures)


def test_real_defects_count_in_place_of_synthetic_ones() -> None:
    real = [Sample(sample.image, defective=False) for sample in GOOD]
    real += [Sample(image(score), defective=True) for score in np.linspace(8, 12, 20)]
    found = facts(Altered(), samples=GOOD + MADE + real)
    assert found.passed
    assert found.auroc_torch is not None
    assert found.recall_torch == pytest.approx(0.75)  # of the twenty, those above 9
    assert found.synthetic_auroc_torch is not None


def test_seen_images_have_limits_of_their_own_and_say_nothing_of_separation() -> None:
    def off(score: NDArray[np.float32]) -> NDArray[np.float32]:
        return score * np.float32(1 + 1e-2)

    assert not facts(Altered(off), "fp16", GOOD).passed
    found = facts(Altered(off), "fp16", SEEN)
    assert found.passed, found.failures
    assert found.unseen == 0
    assert found.seen is not None
    assert found.seen.images == len(SEEN)
    assert found.seen.max_score_deviation == pytest.approx(0.01 * 4 / 10, rel=0.3)
    assert found.synthetic_auroc_torch is None
    assert found.rank_correlation is None


def test_trials_with_other_models_are_one_judgement() -> None:
    """The bank that has seen the images has its graph, the one that has not another; either can fail."""
    right, wrong = Altered(), Altered(lambda score: score * 2)
    for unseen, seen in ((right, wrong), (wrong, right)):
        found = judge(
            [Trial(model, unseen, GOOD + MADE), Trial(model, seen, SEEN)],
            batch=1,
            device="X",
            precision="fp32",
            scales=Scales(THRESHOLDS, THRESHOLDS),
        )
        assert not found.passed
    assert "a training image" not in " ".join(found.failures)


def test_int8_is_allowed_few_flips_and_float_none() -> None:
    assert LIMITS["fp32"].flips == 0
    assert 0 < LIMITS["fp16"].flips < LIMITS["int8"].flips <= 0.05


def _separation(
    good: list[float], bad: list[float], other: tuple[list[float], list[float]] | None = None
) -> Separation | None:
    return separation([(good, bad), other or (good, bad)], [10.0, 10.0])


def test_recall_is_taken_at_the_score_that_one_good_part_in_a_hundred_exceeds() -> None:
    many = _separation([float(v) for v in range(1, 200)], [197.5, 198.5, 199.5])
    assert many is not None
    assert many.recall == (pytest.approx(2 / 3),) * 2  # above the 198th of 199
    few = _separation([1.0, 2.0, 3.0], [2.5, 3.5])
    assert few is not None
    assert few.recall == (0.5, 0.5)
    assert _separation([1.0], []) is None
    assert _separation([1.0], [2.0], ([float("nan")], [2.0])) is None


def test_scores_that_rounding_would_order_are_one() -> None:
    """A weak defect that is not its image's worst patch leaves the score as it is."""
    tied = _separation([1.0, 2.0], [1.0, 2.0, 5.0], ([1.0 + 1e-6, 2.0], [1.0, 2.0 - 1e-6, 5.0]))
    assert tied is not None
    assert tied.auroc[0] == tied.auroc[1] == pytest.approx(4 / 6)
    assert tied.auroc_error == 0


def test_few_images_make_the_difference_uncertain_and_many_do_not() -> None:
    rng = np.random.default_rng(0)
    errors = []
    for good in (5, 100):
        fine, faulty = rng.normal(5, 1, good), rng.normal(7, 1, 144)
        sides = [(list(v + rng.normal(0, s, len(v))) for v in (fine, faulty)) for s in (0, 0.3)]
        found = separation([(next(side), next(side)) for side in sides], [10.0, 10.0])
        assert found is not None
        errors.append(found.auroc_error)
    assert errors[0] > errors[1] > 0


def test_the_limit_of_recall_is_what_chance_does_to_it() -> None:
    half = _separation([1.0], [0.5, 1.5] * 72)
    everything = _separation([1.0], [1.5] * 144)
    assert half is not None
    assert everything is not None
    assert half.recall_drop_limit == pytest.approx(0.0417, abs=1e-4)
    assert everything.recall_drop_limit == 0.02


def test_torch_is_asked_once_for_each_image() -> None:
    asked = []

    def counting(images: Tensor) -> InferenceBatch:
        asked.append(len(images))
        return model(images)

    kept = Reference(counting)
    for _ in range(2):
        for score in (1.0, 2.0):
            assert float(kept(torch.from_numpy(image(score))[None]).pred_score[0]) == score
    assert len(asked) == 2
