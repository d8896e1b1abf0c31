"""What makes the loop fast, as facts and not as times: no copies on the way in, no other work in the line's thread."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import bad_part, good_part, run_cli
from line_records import make_record

from patchcore_edge_runtime import ConfigError, Inspector, Verdict
from patchcore_edge_runtime.display import record as records
from patchcore_edge_runtime.images.preprocess import PreprocessSpec, as_bgr8, preprocess
from patchcore_edge_runtime.images.resize import resize, strips
from patchcore_edge_runtime.inspection import inspector, result
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend
from patchcore_edge_runtime.line.config import LineConfig
from patchcore_edge_runtime.line.runner import run_line
from patchcore_edge_runtime.sinks import (
    ArchiveSink,
    JsonlSink,
    Record,
    Sink,
    SinkContext,
    SinkWorker,
    VideoSink,
    open_sinks,
)
from patchcore_edge_runtime.sources import LiveSource, Source

SPEC = PreprocessSpec(height=64, width=64)
RNG = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


# --- on the way in


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1080, 1920, 3), (224, 224)),
        ((1080, 1920), (256, 256)),
        ((1200, 1600, 3), (224, 320)),
        ((2160, 3840, 3), (256, 256)),
        ((1024, 1280, 3), (96, 64)),
    ],
)
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_strips_side_by_side_give_the_very_same_pixels(
    shape: tuple[int, ...], size: tuple[int, int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "getNumThreads", lambda: threads)
    assert len(strips(shape, size)) == threads
    frame = noise(*shape)
    assert np.array_equal(resize(frame, size), cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize(
    ("shape", "size"), [((1081, 1920), (224, 224)), ((480, 640), (224, 224)), ((4000, 300), (400, 400))]
)
def test_a_frame_is_not_cut_where_rows_do_not_meet_or_it_does_not_pay(
    shape: tuple[int, int], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "getNumThreads", lambda: 8)
    assert strips(shape, size) == [(0, shape[0], 0, size[0])]
    frame = noise(*shape, 3)
    assert np.array_equal(resize(frame, size), cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA))


def test_every_16_bit_value_is_rounded_to_the_nearest() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(as_bgr8(values)[..., 0], (values.astype(np.uint32) + 128) // 257)


@pytest.mark.parametrize("spec", [SPEC, PreprocessSpec(height=80, width=96, crop_height=64, crop_width=48)])
@pytest.mark.parametrize("shape", [(64, 64, 3), (200, 300, 3), (200, 300), (200, 300, 1), (200, 300, 4), (20, 30, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_model_input_is_written_where_it_is_asked_for(
    shape: tuple[int, ...], spec: PreprocessSpec, dtype: type
) -> None:
    frame = RNG.integers(0, np.iinfo(dtype).max + 1, shape, dtype)
    out = np.zeros((*spec.input_size, 3), np.uint8)
    assert preprocess(frame, spec, out) is out
    assert np.array_equal(out, preprocess(frame, spec))


def test_a_frame_of_the_models_size_is_not_copied() -> None:
    frame = noise(64, 64, 3)
    assert preprocess(frame, SPEC).ctypes.data == frame.ctypes.data


def test_grey_frames_are_resized_as_grey(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = noise(300, 400)
    expected = preprocess(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR), SPEC)
    seen: list[tuple[int, ...]] = []
    real = cv2.resize

    def spy(image: np.ndarray, *words: Any, **more: Any) -> np.ndarray:
        seen.append(image.shape)
        return real(image, *words, **more)

    monkeypatch.setattr(cv2, "resize", spy)
    assert np.array_equal(preprocess(frame, SPEC), expected)
    assert seen == [(300, 400)]


def test_frames_are_written_into_the_memory_that_inference_reads(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = OpenVINOBackend(tiny_bundle / "model.xml", "CPU")
    one = Inspector(tiny_bundle, backend=backend)
    written: list[int] = []

    def spy(frame: np.ndarray, spec: PreprocessSpec, out: np.ndarray) -> np.ndarray:
        image = preprocess(frame, spec, out)
        written.append(image.ctypes.data)
        return image

    monkeypatch.setattr(inspector, "preprocess", spy)
    for size in (80, 64, 300):
        one(bad_part(size=size))
        assert written.pop() == backend.images.ctypes.data


def test_threads_that_share_an_inspector_each_get_the_score_of_their_own_frame(tiny_inspector: Inspector) -> None:
    frames = [bad_part(n) if n % 2 else good_part(n) for n in range(16)]
    alone = [tiny_inspector(frame).pred_score for frame in frames]
    with ThreadPoolExecutor(4) as pool:
        together = [result.pred_score for result in pool.map(tiny_inspector, frames)]
    assert together == pytest.approx(alone, rel=1e-5)


# --- on the way out


class Camera:
    """Scratched parts, as fast as they are taken."""

    fps = 50.0

    def __init__(self) -> None:
        self.number = 0

    def read(self) -> np.ndarray:
        self.number += 1
        threading.Event().wait(1 / self.fps)
        return bad_part(self.number)

    def close(self) -> None:
        pass


class Counter:
    """Ends the line after enough records, from its own thread."""

    def __init__(self, source: Source, threads: set[int]) -> None:
        self.source, self.left, self.threads = source, 6, threads

    def write(self, record: Record) -> None:
        self.threads.add(threading.get_ident())
        self.left -= 1
        if not self.left:
            self.source.stop()

    def close(self) -> None:
        self.threads.add(threading.get_ident())


def test_with_a_camera_no_sink_no_overlay_and_no_frame_sized_map_is_made_in_the_inspecting_thread(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, set[int]] = {"sink": set(), "overlay": set(), "map": set(), "file": set()}

    def watch(owner: Any, name: str, what: str) -> None:
        real = getattr(owner, name)

        def spy(*words: Any, **more: Any) -> Any:
            threads[what].add(threading.get_ident())
            return real(*words, **more)

        monkeypatch.setattr(owner, name, spy)

    watch(records, "draw_overlay", "overlay")
    watch(result, "map_in_frame", "map")
    for sink in (JsonlSink, ArchiveSink, VideoSink):
        watch(sink, "write", "file")
    sinks = {
        "jsonl": {"path": "r.jsonl"},
        "archive": {"folder": "archive"},
        "video": {"kind": "video_file", "path": "v.mp4"},
        "results": {"kind": "jsonl", "path": "more.jsonl"},
    }
    line = LineConfig(bundle=tiny_bundle, source={"uri": "camera://"}, sinks=sinks, folder=tmp_path)
    with closing(LiveSource("camera", Camera)) as source:
        now = run_line(line, source, sinks={"count": Counter(source, threads["sink"])})
    assert now.counts[Verdict.NG] >= 6
    assert all(now.sinks[name].written >= 6 for name in ("jsonl", "archive", "video", "results", "count"))
    for what, seen in threads.items():
        assert seen, f"{what} was never reached"
        assert threading.get_ident() not in seen, what


def test_a_map_is_brought_to_the_frames_size_only_when_asked_for(
    tiny_inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[np.ndarray] = []
    real = result.map_in_frame
    monkeypatch.setattr(result, "map_in_frame", lambda *words: made.append(words[0]) or real(*words))
    found = tiny_inspector(bad_part(size=120))
    assert found.verdict is Verdict.NG
    assert tiny_inspector(good_part()).to_dict()["regions"] == []
    assert not made
    assert found.model_map.shape == (64, 64)
    assert found.anomaly_map.shape == (120, 120)
    assert found.pred_mask.any()
    assert found.regions
    assert len(made) == 1, "made once for the map, the mask and the regions"


def test_a_queue_takes_only_what_its_sink_stores(tmp_path: Path) -> None:
    seen: list[Record] = []

    class Results(JsonlSink):
        def write(self, record: Record) -> None:
            seen.append(record)

    context = SinkContext()
    mine = {"archive": ArchiveSink(tmp_path / "ng"), "results": Results(tmp_path / "r.jsonl")}
    group = open_sinks({}, context, mine)
    for verdict in Verdict:
        group.write(make_record(verdict))
    group.close()
    figures = context.status.snapshot().sinks
    assert (figures["archive"].written, figures["results"].written) == (3, 4)
    assert [record.frame.image for record in seen] == [None] * 4, "a line of text needs no pixels"


@pytest.mark.skipif(sys.platform != "linux", reason="a thread's priority can be read on Linux only")
@pytest.mark.parametrize("pictures", [True, False])
def test_sinks_that_draw_and_encode_run_at_a_lower_priority(pictures: bool) -> None:
    class Priority:
        value: int | None = None

        def write(self, record: Record) -> None:
            self.value = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

        def close(self) -> None:
            pass

    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    sink: Sink = Priority()
    worker = SinkWorker("priority", sink, pictures=pictures)
    worker.write(make_record())
    worker.close()
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine
    assert sink.value == (min(19, mine + 5) if pictures else mine)


# --- several lines on one CPU


def test_a_line_can_be_given_its_share_of_the_cores(tiny_bundle: Path) -> None:
    alone, shared = (OpenVINOBackend(tiny_bundle / "model.xml", "CPU", "latency", None, n).compiled for n in (None, 1))
    assert shared.get_property("INFERENCE_NUM_THREADS") == 1
    assert not shared.get_property("ENABLE_CPU_PINNING"), "or each process pins its threads to the same first cores"
    assert alone.get_property("INFERENCE_NUM_THREADS") >= 1
    one = Inspector(tiny_bundle, inference_num_threads=1)
    assert one(bad_part()).pred_score == pytest.approx(Inspector(tiny_bundle)(bad_part()).pred_score, rel=1e-4)


def test_cores_are_shared_on_the_cpu_only(tiny_bundle: Path) -> None:
    with pytest.raises(ConfigError, match="CPU"):
        Inspector(tiny_bundle, "AUTO", inference_num_threads=1)
    with pytest.raises(ValueError, match="inference_num_threads is for the CPU"):
        LineConfig(bundle=tiny_bundle, source={"uri": "0"}, device="GPU", inference_num_threads=2)


def test_the_command_line_passes_the_number_of_threads_on(
    tiny_bundle: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []
    real = OpenVINOBackend.__init__

    def spy(self: OpenVINOBackend, *words: Any) -> None:
        asked.append(words[4])
        real(self, *words)

    monkeypatch.setattr(OpenVINOBackend, "__init__", spy)
    good = tiny_data / "test" / "good"
    for command in (("run",), ("benchmark", "--seconds", 0.1, "--hint", "latency")):
        words = (*command, "-m", tiny_bundle, "-s", good, "--inference-num-threads", 1)
        done = run_cli(*words, program="patchcore_edge_runtime")
        assert done.returncode == 0, done.stderr
    monkeypatch.setenv("PATCHCORE_EDGE_INFERENCE_NUM_THREADS", "2")
    assert run_cli("run", "-m", tiny_bundle, "-s", good, program="patchcore_edge_runtime").returncode == 0
    assert asked == [1, 1, 2]
    assert run_cli(*words[:-1], 0, program="patchcore_edge_runtime").returncode == 2
