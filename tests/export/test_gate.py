"""The gate: what deviates is refused and leaves nothing, or is forced and says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from conftest import run_cli
from numpy.typing import NDArray

from patchcore_edge.checkpoint import Calibration
from patchcore_edge.models import Patchcore
from patchcore_edge_export import build, parity
from patchcore_edge_export.build import Built, GraphOptions, build_graph, gate_samples
from patchcore_edge_export.fast import FastPlan
from patchcore_edge_export.parity import Limits, Sample, compare, require_parity
from patchcore_edge_export.plan import Choice
from patchcore_edge_runtime.bundle import Bundle
from patchcore_edge_runtime.errors import DataError, ParityError
from patchcore_edge_runtime.manifest import ParityFacts, SearchFacts
from patchcore_edge_runtime.preprocess import Image
from patchcore_edge_runtime.verdict import Thresholds

STRICT = Limits(score=0.0, map=0.0, fast_map=0.0, auroc_drop=0.0)


class _Torch:
    """A graph that answers as torch does, and then as it was told to."""

    def __init__(self, fitted: Patchcore, score: float = 1.0, add: float = 0.0, map_add: float = 0.0) -> None:
        self.fitted, self.score, self.add, self.map_add = fitted, score, add, map_add
        self.batches: list[int] = []

    def infer(self, images: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.batches.append(len(images))
        output = self.fitted(torch.from_numpy(images))
        return output.pred_score.numpy() * self.score + self.add, output.anomaly_map.numpy() + self.map_add


def _compare(
    fitted: Patchcore, graph: _Torch, samples: list[Sample], thresholds: Thresholds, batch: int = 1
) -> ParityFacts:
    return compare(fitted, graph, samples, batch=batch, device="X", precision="fp32", thresholds=thresholds)


@pytest.fixture
def samples(images: list[Image]) -> list[Sample]:
    return [Sample(image) for image in images[:5]]


def test_a_graph_that_agrees_passes(fitted: Patchcore, calibration: Calibration, samples: list[Sample]) -> None:
    facts = _compare(fitted, _Torch(fitted), samples, calibration.thresholds)
    assert facts.passed
    assert facts.failures == ()
    assert facts.images == 5
    assert facts.rank_correlation == pytest.approx(1.0)
    require_parity(facts)


@pytest.mark.parametrize(
    ("graph", "says"),
    [({"score": 1.001}, "score deviates"), ({"score": float("nan")}, "score deviates"), ({"map_add": 0.1}, "map")],
)
def test_a_deviation_is_refused_and_nan_is_one(
    graph: dict[str, float], says: str, fitted: Patchcore, calibration: Calibration, samples: list[Sample]
) -> None:
    facts = _compare(fitted, _Torch(fitted, **graph), samples, calibration.thresholds)
    assert not facts.passed
    assert any(says in failure for failure in facts.failures)
    with pytest.raises(ParityError, match=says):
        require_parity(facts)


def test_a_flipped_verdict_is_refused_however_small_the_deviation(
    fitted: Patchcore, calibration: Calibration, samples: list[Sample]
) -> None:
    score = float(fitted(torch.from_numpy(samples[0].image)[None]).pred_score[0])
    thresholds = calibration.thresholds.model_copy(update={"image": score})
    facts = _compare(fitted, _Torch(fitted, score=1 + 1e-5), samples, thresholds)
    assert facts.verdict_flips == 1
    assert facts.failures == (f"1 of {len(samples)} verdicts flip (limit 0)",)


def test_each_place_of_a_batch_is_compared_and_the_last_batch_is_filled_up(
    fitted: Patchcore, calibration: Calibration, samples: list[Sample]
) -> None:
    graph = _Torch(fitted)
    facts = _compare(fitted, graph, samples, calibration.thresholds, batch=3)
    assert graph.batches == [3, 3]
    assert facts.images == 5
    assert facts.passed


class _Reversed(_Torch):
    def infer(self, images: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        score, anomaly_map = super().infer(images)
        return 100 / score, anomaly_map


def test_labelled_images_give_auroc_before_and_after_and_its_loss_is_refused(
    fitted: Patchcore, calibration: Calibration, images: list[Image]
) -> None:
    labelled = [Sample(sample.image, defective=sample.synthetic) for sample in gate_samples(images[:4])]
    same = _compare(fitted, _Torch(fitted), labelled, calibration.thresholds)
    assert same.auroc_torch is not None
    assert same.auroc_torch == same.auroc_graph
    worse = _compare(fitted, _Reversed(fitted), labelled, calibration.thresholds)
    assert worse.auroc_graph == pytest.approx(1 - same.auroc_torch)
    assert any("AUROC" in failure for failure in worse.failures)
    assert worse.rank_correlation == pytest.approx(-1.0)


def test_images_that_nobody_labelled_give_no_auroc(
    fitted: Patchcore, calibration: Calibration, images: list[Image]
) -> None:
    facts = _compare(fitted, _Torch(fitted), gate_samples(images[:3]), calibration.thresholds)
    assert facts.auroc_torch is None
    assert facts.synthetic == 3


def test_without_images_nothing_is_promised(fitted: Patchcore, calibration: Calibration) -> None:
    with pytest.raises(DataError, match="--data"):
        _compare(fitted, _Torch(fitted), [], calibration.thresholds)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(parity.LIMITS, "fp32", STRICT)


@pytest.mark.usefixtures("refusing")
def test_a_refused_export_writes_no_bundle_and_exits_4(tiny_run: Path, tmp_path: Path) -> None:
    done = run_cli("export", tiny_run, "-o", tmp_path / "bundle")
    assert done.returncode == 4
    assert "does not score as torch does" in done.stderr
    assert "--force" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("refusing")
def test_a_forced_export_writes_the_failure_into_the_manifest(tiny_run: Path, tmp_path: Path) -> None:
    done = run_cli("export", tiny_run, "-o", tmp_path / "bundle", "--force")
    assert done.returncode == 0, done.stderr
    assert "FAILED: a score deviates" in done.stdout
    facts = Bundle.load(tmp_path / "bundle").manifest.parity
    assert not facts.passed
    assert facts.failures


@pytest.mark.usefixtures("refusing")
def test_verify_prints_what_it_found_before_it_refuses(tiny_bundle: Path, tiny_run: Path) -> None:
    done = run_cli("verify", tiny_bundle, "--run", tiny_run, "--json")
    assert done.returncode == 4
    assert json.loads(done.stdout)["failures"]


def test_verify_on_labelled_data_reports_auroc_and_the_kept_onnx_file(
    fast_bundle: Path, tiny_run: Path, tiny_data: Path
) -> None:
    done = run_cli("verify", fast_bundle, "--run", tiny_run, "--data", tiny_data, "-d", "CPU", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["auroc_torch"] == facts["auroc_graph"] == 1.0
    assert facts["onnx"]["max_score_deviation"] <= 1e-4
    assert facts["images"] == 22


def test_the_bundle_says_how_it_searches_and_why(fast_bundle: Path, tiny_bundle: Path) -> None:
    fast, exact = Bundle.load(fast_bundle).manifest, Bundle.load(tiny_bundle).manifest
    assert (fast.search, fast.batch) == ("fast", 2)
    assert fast.search_facts.dimensions is not None
    assert fast.search_facts.refined_patches is not None
    assert "synthetic" in fast.search_facts.reason
    assert fast.parity.synthetic > 0
    assert fast.parity.onnx is not None
    assert "model.onnx" in fast.files
    assert (exact.search, exact.search_facts.dimensions) == ("exact", None)
    assert "model.onnx" not in exact.files


_PLAN = FastPlan(dimensions=16, patches=4, correlation=0.2, reach=5.0)


def _auto(
    monkeypatch: pytest.MonkeyPatch,
    fast_fails: tuple[str, ...] = (),
    choose: Callable[..., Choice] | None = None,
    passes: int | None = None,
    **choice: bool,
) -> Built:
    """``--search auto`` up to its decision: the choice and the gate's answers are given, no graph is written.

    A plan of ``passes`` dimensions passes the gate whatever fails others.
    """

    def attempt(*arguments: object) -> Built:
        plan, why = cast("FastPlan | None", arguments[-2]), arguments[-1]
        failures = fast_fails if plan and plan.dimensions != passes else ()
        facts = ParityFacts(
            device="X",
            images=1,
            max_score_deviation=0,
            max_map_deviation=0,
            verdict_flips=0,
            score_limit=0,
            failures=failures,
            passed=not failures,
        )
        search = "fast" if plan else "exact"
        return Built(search, SearchFacts(reason=str(why)), facts, Thresholds(image=1, pixel=1))

    chosen = Choice(_PLAN, choice.get("holds", True), choice.get("pays", True), "as the sample says")
    monkeypatch.setattr(build, "plan_search", choose or (lambda *_: chosen))
    monkeypatch.setattr(build, "_attempt", attempt)
    return build_graph(Path(), None, [], Thresholds(image=1, pixel=1), GraphOptions(search="auto"))


def test_auto_takes_fast_when_the_gate_certifies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    built = _auto(monkeypatch)
    assert (built.search, built.search_facts.reason) == ("fast", "as the sample says")


def test_auto_takes_exact_when_the_gate_refuses_fast_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    built = _auto(monkeypatch, fast_fails=("a map deviates",))
    assert built.search == "exact"
    assert built.search_facts.reason == "the gate refused fast search: a map deviates"


def test_auto_plans_more_carefully_before_it_gives_up_fast_search(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []

    def choose(*arguments: float) -> Choice:
        limits.append(arguments[-1])
        return Choice(replace(_PLAN, dimensions=16 * len(limits)), True, True, "as the sample says")

    built = _auto(monkeypatch, fast_fails=("a map deviates",), choose=choose, passes=32)
    assert built.search == "fast"
    assert len(limits) == 2
    assert limits[1] < limits[0]


@pytest.mark.parametrize("choice", [{"holds": False}, {"pays": False}])
def test_auto_takes_exact_when_no_plan_holds_or_none_pays(
    choice: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = _auto(monkeypatch, **choice)
    assert (built.search, built.search_facts.reason) == ("exact", "as the sample says")
