"""The inspector as a program uses it, and what runs its graph."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import bad_part, good_part
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from patchcore_edge_runtime import Bundle, DeviceError, Inspector, ParityError, Thresholds, Verdict, preprocess
from patchcore_edge_runtime.benchmark import benchmark
from patchcore_edge_runtime.bundle.bundle import write_manifest
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend


class Watched:
    """OpenVINO, told when it is asked for a frame's score; what it is told may fail."""

    def __init__(self, bundle: Path, told: Callable[[np.ndarray], None]) -> None:
        self._inner = OpenVINOBackend(bundle / "model.xml", "CPU")
        self._told = told

    @property
    def images(self) -> np.ndarray:
        return self._inner.images

    @property
    def execution_devices(self) -> list[str]:
        return ["WATCHED"]

    def infer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if images is self._inner.images:  # and no golden image
            self._told(images)
        return self._inner.infer(images)


def test_any_backend_can_run_the_graph_and_is_held_to_the_golden_scores(tiny_bundle: Path) -> None:
    seen: list[np.ndarray] = []
    one = Inspector(tiny_bundle, backend=Watched(tiny_bundle, lambda images: seen.append(images.copy())))
    assert one.execution_devices == ["WATCHED"]
    assert one(bad_part()).verdict is Verdict.NG
    assert np.array_equal(seen[0][0], preprocess(bad_part(), one.manifest.preprocess))

    class Wrong(Watched):
        def infer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            scores, maps = super().infer(images)
            return scores * 1.5, maps

    with pytest.raises(ParityError, match="scores"):
        Inspector(tiny_bundle, backend=Wrong(tiny_bundle, lambda _: None))


def test_siblings_share_a_compiled_model_and_run_side_by_side(tiny_bundle: Path) -> None:
    first = OpenVINOBackend(tiny_bundle / "model.xml", "CPU", "throughput")
    second = first.sibling()
    assert second.compiled is first.compiled
    assert second.images.ctypes.data != first.images.ctypes.data
    inspectors = [Inspector(tiny_bundle, backend=backend) for backend in (first, second)]
    frames = [bad_part(n) if n % 3 == 0 else good_part(n) for n in range(12)]
    alone = [inspectors[0](frame).pred_score for frame in frames]
    with ThreadPoolExecutor(2) as pool:
        for together in pool.map(lambda one: [one(frame).pred_score for frame in frames], inspectors):
            assert together == pytest.approx(alone, rel=1e-5)


def test_a_failing_inference_in_the_benchmark_is_counted_and_no_frame_is_lost(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count()
    real = OpenVINOBackend.infer

    def sometimes(self: OpenVINOBackend, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if images is self.images and next(calls) % 2:
            raise RuntimeError("the device went away")
        return real(self, images)

    monkeypatch.setattr(OpenVINOBackend, "infer", sometimes)
    found = benchmark(tiny_bundle, "CPU", "throughput", seconds=0.5)
    assert 0 < found["errors"] < found["frames"]


def test_a_result_says_which_frame_when_and_how_long(tiny_inspector: Inspector) -> None:
    result = tiny_inspector(good_part(), frame_id=17, time=1e9)
    assert (result.frame_id, result.time) == (17, 1e9)
    assert result.timings.inference_ms > 0
    assert result.timings.total_ms >= result.timings.inference_ms + result.timings.preprocess_ms
    assert result.model_id == tiny_inspector.manifest.model_id
    first, second = tiny_inspector(good_part()), tiny_inspector(good_part())
    assert second.frame_id == first.frame_id + 1
    record = tiny_inspector(bad_part()).to_dict()
    assert record["regions"][0]["area"] > 0
    assert tiny_inspector(good_part()).to_dict()["regions"] == []


def test_a_device_that_is_not_there_lists_those_that_are(tiny_bundle: Path) -> None:
    with pytest.raises(DeviceError, match="CPU"):
        Inspector(tiny_bundle, "NPU.7")


def test_auto_says_where_it_runs(tiny_bundle: Path) -> None:
    auto = Inspector(tiny_bundle, "AUTO")
    assert auto.execution_devices
    assert auto(bad_part()).verdict is Verdict.NG


def test_the_second_start_uses_the_model_cache(tiny_bundle: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = Inspector(tiny_bundle, cache_dir=cache)(bad_part())
    blobs = sorted(cache.rglob("*.*"))
    assert blobs
    stamps = [blob.stat().st_mtime_ns for blob in blobs]
    second = Inspector(tiny_bundle, cache_dir=cache)(bad_part())
    assert second.pred_score == pytest.approx(first.pred_score, rel=1e-5)
    assert [blob.stat().st_mtime_ns for blob in sorted(cache.rglob("*.*"))] == stamps


def test_an_openvino_older_than_the_exporters_is_said(
    tiny_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    manifest = Bundle.load(folder).manifest
    for version, warns in (("2099.1.0-1", True), ("2023.0.0", False), ("nightly", False)):
        tools = {**manifest.tools, "openvino": version}
        write_manifest(folder, manifest.model_copy(update={"tools": tools}))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            Inspector(folder)
        assert any("older" in record.message for record in caplog.records) == warns


@pytest.mark.parametrize(
    "frame", [None, "frame", [[1, 2], [3, 4]], 3, np.zeros(0), np.array(["a"]), np.zeros((80, 80))]
)
def test_what_is_no_frame_is_an_error(frame: Any, tiny_inspector: Inspector) -> None:
    result = tiny_inspector(frame)
    assert result.verdict is Verdict.ERROR
    assert result.reason


@settings(max_examples=60)
@given(
    frame=arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32, np.float32, np.bool_]),
        array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=24),
    )
)
def test_whatever_comes_in_there_is_a_verdict_and_ok_only_with_a_score(frame: Any, tiny_inspector: Inspector) -> None:
    result = tiny_inspector(frame)
    assert result.verdict in Verdict
    assert (result.verdict is Verdict.ERROR) == (not np.isfinite(result.pred_score))
    assert result.to_dict()["verdict"] == str(result.verdict)


@pytest.mark.parametrize("said", ["the device went away\nwith details", ""])
def test_a_failing_inference_is_an_error_and_the_next_frame_is_judged(said: str, tiny_bundle: Path) -> None:
    failures = [RuntimeError(said)]

    def fail_once(_: np.ndarray) -> None:
        if failures:
            raise failures.pop()

    one = Inspector(tiny_bundle, backend=Watched(tiny_bundle, fail_once))
    result = one(bad_part())
    assert result.verdict is Verdict.ERROR
    assert result.reason.startswith("Inference failed: ")
    assert said.partition("\n")[0] in result.reason
    assert "details" not in result.reason
    assert one(bad_part()).verdict is Verdict.NG


def test_a_result_states_the_thresholds_that_it_was_judged_by(tiny_bundle: Path) -> None:
    one = Inspector(tiny_bundle)
    limits = one.thresholds

    class Pressed(Thresholds):
        """The + key is pressed while a frame is judged."""

        def judge(self, score: float) -> Verdict:
            one.thresholds = limits.scaled(100)
            return super().judge(score)

    one.thresholds = Pressed(**limits.model_dump())
    result = one(bad_part())
    assert (result.verdict, result.thresholds.image) == (Verdict.NG, limits.image)
    result = one(bad_part())
    assert (result.verdict, result.thresholds.image) == (Verdict.OK, 100 * limits.image)
