"""The gate: what deviates is refused and leaves nothing, or is forced and says so."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import run_cli
from numpy.typing import NDArray

from patchcore_edge.models import Patchcore
from patchcore_edge.runs.facts import Calibration
from patchcore_edge_export import build
from patchcore_edge_export.build import BuildResult, GraphOptions, build_graph, gate_samples
from patchcore_edge_export.gate import parity
from patchcore_edge_export.gate.advice import advice
from patchcore_edge_export.gate.parity import Limits, Sample, compare, require_parity
from patchcore_edge_export.gate.recalibrate import score_pairs
from patchcore_edge_export.planning.plan import Choice, plan_search
from patchcore_edge_runtime.bundle.bundle import Bundle
from patchcore_edge_runtime.bundle.manifest import ParityReport
from patchcore_edge_runtime.errors import DataError, ParityError
from patchcore_edge_runtime.images.preprocess import Image
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
) -> ParityReport:
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
    [({"score": 1.001}, "score is"), ({"score": float("nan")}, "score is"), ({"map_add": 0.1}, "heatmap is")],
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
    assert facts.failures == (f"1 of {len(samples)} images get another verdict (limit 0)",)


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
    assert facts.images == facts.unseen == 3 + facts.synthetic
    assert facts.synthetic >= 3 * 3
    assert facts.synthetic_auroc_torch == facts.synthetic_auroc_graph is not None
    assert facts.recall_torch == facts.recall_graph is not None


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
    assert "--search exact" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("refusing")
def test_a_forced_export_writes_the_failure_into_the_manifest(tiny_run: Path, tmp_path: Path) -> None:
    done = run_cli("export", tiny_run, "-o", tmp_path / "bundle", "--force")
    assert done.returncode == 0, done.stderr
    assert "FAILED: a score is off by" in done.stdout
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


def _facts(*failures: str) -> ParityReport:
    return ParityReport(
        device="X",
        images=1,
        max_score_deviation=0,
        max_map_deviation=0,
        verdict_flips=0,
        score_limit=0,
        failures=failures,
        passed=not failures,
    )


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The limits of the map that plans were asked for, one after the other."""
    limits: list[float] = []

    def noted(*arguments: Any) -> Choice:
        limits.append(arguments[3])
        return plan_search(*arguments)

    monkeypatch.setattr(build, "plan_search", noted)
    return limits


@pytest.fixture
def exported(
    fitted: Patchcore, calibration: Calibration, images: list[Image], tmp_path: Path
) -> Callable[..., BuildResult]:
    def export(**options: Any) -> BuildResult:
        return build_graph(tmp_path, fitted, images, calibration.thresholds, GraphOptions(**options))

    return export


REFUSING_FAST = replace(parity.LIMITS["fp16"], fast_map=0.0)
"""Of the precision that is not planned by: exact graphs pass, fast ones have estimates in their maps."""


def test_auto_takes_exact_where_no_plan_keeps_the_maps(
    exported: Callable[..., BuildResult], planned: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parity.LIMITS, "fp32", replace(parity.LIMITS["fp32"], fast_map=0.0))
    built = exported(search="auto")
    assert (built.search, built.parity.passed, planned) == ("exact", True, [0.0])
    assert re.match("no plan up to .* holds", built.search_facts.reason)


def test_auto_takes_fast_search_where_it_pays_and_passes(
    exported: Callable[..., BuildResult], planned: list[float]
) -> None:
    built = exported(search="auto")
    assert (built.search, built.parity.passed) == ("fast", True)
    assert planned == [parity.LIMITS["fp32"].fast_map]


def test_auto_takes_exact_where_the_gate_refuses_fast_search_and_says_so(
    exported: Callable[..., BuildResult], planned: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parity.LIMITS, "fp16", REFUSING_FAST)
    built = exported(search="auto", precision="fp16")
    assert (built.search, built.parity.passed) == ("exact", True)
    assert re.match("the gate refused fast search: a heatmap is off by", built.search_facts.reason)
    first, second = planned
    assert second < first, "a second plan is more careful than the one that was refused"


def test_forced_fast_search_is_what_the_second_plan_gives_and_says_what_was_refused(
    exported: Callable[..., BuildResult], planned: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parity.LIMITS, "fp16", REFUSING_FAST)
    built = exported(search="fast", precision="fp16", force=True)
    assert (built.search, built.parity.passed, len(planned)) == ("fast", False, 2)


CAREFUL = ("int8", "fp16", "fp32")


def test_advice_is_something_more_careful_that_was_not_done() -> None:
    for precision, search, compressed in itertools.product(CAREFUL, ("exact", "fast"), (False, True)):
        text = advice(precision, search, compressed=compressed)
        told = re.findall(r"(?<=--precision )\w+", text)
        assert all(CAREFUL.index(one) > CAREFUL.index(precision) for one in told)
        assert bool(told) is (precision != "fp32")
        assert re.findall(r"(?<=--search )\w+", text) == (["exact"] if search == "fast" else [])
        assert ("no --compress-weights" in text) is ("compress" in text) is compressed
        assert text.endswith("--force writes the bundle all the same.")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--search", "auto"], "There is no more careful export"),
        (["--precision", "fp16", "--search", "fast"], "Try --search exact, and if that is refused too, --prec"),
    ],
)
def test_a_refused_export_is_told_what_it_has_not_done(
    asked: list[str], told: str, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for precision in CAREFUL:
        monkeypatch.setitem(parity.LIMITS, precision, STRICT)
    done = run_cli("export", tiny_run, "-o", tmp_path / "bundle", *asked)
    assert done.returncode == 4
    assert told in done.stderr


def test_a_graph_without_numbers_is_told_what_it_has_not_done(fitted: Patchcore, images: list[Image]) -> None:
    told = advice("fp16", "exact", compressed=True)
    with pytest.raises(ParityError) as refused:
        score_pairs(fitted, _Torch(fitted, score=float("nan")), images[:1], told)
    assert str(refused.value).endswith(told)
    assert "--precision fp16" not in str(refused.value)


def test_a_refused_exact_float_graph_is_not_told_to_be_exact_and_float() -> None:
    with pytest.raises(ParityError) as refused:
        require_parity(_facts("a score is off"), advice("fp32", "exact", compressed=False))
    assert "--precision" not in str(refused.value)
    assert "--backbone" in str(refused.value)


def test_a_refused_bundle_is_told_of_another_device_or_another_export() -> None:
    with pytest.raises(ParityError, match="try -d CPU"):
        require_parity(_facts("a score is off").model_copy(update={"device": "GPU"}))
    with pytest.raises(ParityError, match="export the run again"):
        require_parity(_facts("a score is off").model_copy(update={"device": "CPU"}))
