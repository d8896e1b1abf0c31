"""The inspector as a program uses it: one frame at a time, or several in flight."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import bad_part, good_part
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from patchcore_edge_runtime import Bundle, DeviceError, InspectionResult, Inspector, Verdict
from patchcore_edge_runtime.bundle.bundle import write_manifest
from patchcore_edge_runtime.inspection import inspector


def test_several_in_flight_give_what_one_at_a_time_gives_in_the_same_order(tiny_bundle: Path) -> None:
    fast = Inspector(tiny_bundle, hint="throughput")
    frames = [
        bad_part(n) if n % 3 == 0 else np.zeros((4, 4, 3), np.uint8) if n % 5 == 4 else good_part(n) for n in range(20)
    ]
    found = []
    for number, frame in enumerate(frames):
        while not fast.submit(frame, frame_id=number):
            found.append(fast.next_result())
    found += fast.results(wait=True)
    assert [result.frame_id for result in found] == list(range(20))
    for frame, result in zip(frames, found, strict=True):
        alone = fast(frame)
        assert result.verdict is alone.verdict
        assert result.pred_score == pytest.approx(alone.pred_score, rel=1e-5, nan_ok=True)
        if alone.model_map is not None:
            np.testing.assert_allclose(result.model_map, alone.model_map, rtol=1e-4)


def test_the_queue_is_bounded_and_says_so(tiny_bundle: Path) -> None:
    fast = Inspector(tiny_bundle)
    for number in range(fast.depth):
        assert fast.submit(good_part(number))
    assert not fast.submit(good_part())
    assert len(list(fast.results(wait=True))) == fast.depth
    assert list(fast.results(wait=True)) == []
    assert fast.submit(good_part())
    assert fast.next_result().verdict is not Verdict.ERROR


def test_results_that_are_not_there_yet_are_not_waited_for(tiny_bundle: Path) -> None:
    fast = Inspector(tiny_bundle)
    assert list(fast.results()) == []
    fast.submit(bad_part(), frame_id=5)
    found: list[InspectionResult] = []
    while not found:
        found += fast.results()
    assert [(result.frame_id, result.verdict) for result in found] == [(5, "NG")]


def test_the_owner_of_a_submitted_frame_may_write_the_next_one_into_it(tiny_bundle: Path) -> None:
    fast = Inspector(tiny_bundle)
    height, width = fast.manifest.preprocess.input_size
    frame = cv2.resize(bad_part(), (width, height))
    expected = fast(frame).pred_score
    fast.submit(frame)
    frame[:] = 0
    assert fast.next_result().pred_score == pytest.approx(expected, rel=1e-5)


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


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


def test_a_failing_inference_is_an_error_and_the_next_frame_is_judged(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Inspector(tiny_bundle)
    with monkeypatch.context() as patched:
        patched.setattr(inspector.InferenceSlot, "infer", failing)
        result = one(bad_part())
    assert result.verdict is Verdict.ERROR
    assert "the device went away" in result.reason
    assert one(bad_part()).verdict is Verdict.NG


def failing(*_: object) -> None:
    raise RuntimeError("the device went away\nwith details")
