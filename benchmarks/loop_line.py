"""One camera and a whole line: from the capture of a frame to its line in the JSONL file, and what the stages take."""

from __future__ import annotations

import shutil
import time
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import numpy as np

from patchcore_edge_runtime import Bundle
from patchcore_edge_runtime.images.preprocess import Image, preprocess
from patchcore_edge_runtime.inspection.opened_backend import open_backend
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend
from patchcore_edge_runtime.line.config import LineConfig, SourceTable
from patchcore_edge_runtime.line.runner import run_line
from patchcore_edge_runtime.sinks import ArchiveSink, JsonlSink, Record, Sink, VideoSink, worker
from patchcore_edge_runtime.sources import LiveSource, Source
from patchcore_edge_runtime.system import lower_thread_priority

from .cameras import MemoryCamera

SINKS = ("JSONL", "JSONL, save-ng", "JSONL, save-ng, video")
FPS = 8.0
WARM_UP = 4
COUNTED = 24
ROUNDS = 2

ONE = """
## One camera: {name}

A camera in memory gives {fps:g} frames per second to a whole line (`run_line`): latest-frame capture, preprocessing,
sanity, inference, verdict, sinks. *Captured → written*: from the moment the driver handed the frame over to the moment
its line stood in the JSONL file. *Inference alone*: the same pictures at the same rate, before each run.
*Ratio*: of the medians, with its smallest and largest value over {rounds} rounds. *Rest*: waking up, queue, JSON; of
NG frames also the way of the map back to the frame. *Lost*: records that a slow sink had no room for.

"""
COLUMNS = (
    "frame",
    "sinks",
    "captured → written",
    "inference alone",
    "ratio",
    "preprocess",
    "sanity",
    "inference",
    "judge",
    "rest, OK",
    "rest, NG",
    "lost",
)

LOWER_PRIORITY = """
## Sinks at a lower priority

Sinks that draw and encode run at a lower priority (Linux, Windows). One camera at {width}x{height}, {fps:g} frames per
second, with JSONL, save-ng and video, {rounds} rounds with and without in turns; *captured → written* as above.

| sinks | captured → written | preprocess | inference | lost |
|---|---|---|---|---|
"""


class StampedJsonl(JsonlSink):
    """Notes when each line was written, and ends the run after enough of them."""

    def __init__(self, path: Path, source: Source, count: int) -> None:
        super().__init__(path)
        self.seen: list[tuple[Record, float]] = []
        self._source, self._count = source, count

    def write(self, record: Record) -> None:
        """Write the line."""
        super().write(record)
        self.seen.append((record, (time.time() - record.frame.time) * 1e3))
        if len(self.seen) >= self._count:
            self._source.stop()


def one_camera(bundle: Path, scratch: Path, frames: dict[tuple[int, int], list[Image]]) -> str:
    """A row for each size and choice of sinks."""
    loaded = Bundle.load(bundle)
    manifest = loaded.manifest
    name = f"{manifest.model.backbone}, {manifest.preprocess.width} px, bank of {manifest.model.bank_size:,}"
    lines = []
    for size, pictures in frames.items():
        runs: dict[str, list[_Run]] = {sinks: [] for sinks in SINKS}
        alone: dict[str, list[list[float]]] = {sinks: [] for sinks in SINKS}
        backend, _ = open_backend(loaded, "CPU")  # as the line opens it
        prepared = [preprocess(picture, manifest.preprocess)[None] for picture in pictures]
        for _ in range(ROUNDS):
            for sinks, found in runs.items():
                alone[sinks].append(_inference_alone(backend, prepared))
                found.append(_Run(bundle, scratch, pictures, sinks))
        lines += [_one_line(size, sinks, found, alone[sinks]) for sinks, found in runs.items()]
        print("\n".join(lines[-len(SINKS) :]), flush=True)
    head = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    return ONE.format(name=name, fps=FPS, rounds=ROUNDS) + "\n".join([*head, *lines]) + "\n"


class _Run:
    """One run of a line: milliseconds from capture to the JSONL line, and the results."""

    def __init__(self, bundle: Path, scratch: Path, frames: list[Image], sinks: str) -> None:
        folder = scratch / "results"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with closing(LiveSource("camera", lambda: MemoryCamera(frames, FPS))) as source:
            probe = StampedJsonl(folder / "results.jsonl", source, WARM_UP + COUNTED)
            more: dict[str, Sink] = {"results": probe}
            if "save-ng" in sinks:
                more["save-ng"] = ArchiveSink(folder / "ng")
            if "video" in sinks:
                more["save-video"] = VideoSink(folder / "video.mp4", source.fps)
            line = LineConfig(bundle=bundle.resolve(), source=SourceTable(uri="camera://memory"))
            now = run_line(line, source, sinks=more)
        seen = probe.seen[WARM_UP : WARM_UP + COUNTED]
        self.results = [record.result for record, _ in seen]
        reasons = {result.reason for result in self.results if result.reason}
        if reasons:
            raise RuntimeError(f"frames were refused: {reasons}")
        self.total = [total for _, total in seen]
        self.lost = sum(sink.dropped for sink in now.sinks.values())

    def stage(self, name: str) -> list[float]:
        """Milliseconds of one stage."""
        return [getattr(result.timings, name) for result in self.results]

    def rest(self, *, regions: bool) -> list[float]:
        """Milliseconds that are in no stage."""
        pairs = zip(self.results, self.total, strict=True)
        return [total - result.timings.total_ms for result, total in pairs if result.has_regions is regions]


def _inference_alone(backend: OpenVINOBackend, pictures: list[Image]) -> list[float]:
    times: list[float] = []
    for number in range(WARM_UP + len(pictures)):
        start = time.perf_counter()
        backend.infer(pictures[number % len(pictures)])
        times.append((time.perf_counter() - start) * 1e3)
        time.sleep(max(0.0, 1 / FPS - times[-1] / 1e3))
    return times[WARM_UP:]


def _one_line(size: tuple[int, int], sinks: str, runs: list[_Run], alone: list[list[float]]) -> str:
    ratios = [float(np.median(run.total) / np.median(base)) for run, base in zip(runs, alone, strict=True)]
    stages = ("preprocess_ms", "sanity_ms", "inference_ms", "judge_ms")
    cells = [
        f"{size[0]}x{size[1]}",
        sinks,
        shown([value for run in runs for value in run.total]),
        shown([value for base in alone for value in base]),
        f"{np.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})",
        *(shown([value for run in runs for value in run.stage(stage)]) for stage in stages),
        *(shown([v for run in runs for v in run.rest(regions=regions)]) for regions in (False, True)),
        str(sum(run.lost for run in runs)),
    ]
    return f"| {' | '.join(cells)} |"


def shown(values: list[float]) -> str:
    """Median and 95th percentile."""
    if not values:
        return "–"
    p50, p95 = np.percentile(values, [50, 95])
    return f"{p50:.2f}, {p95:.2f}" if p50 < 9.95 else f"{p50:.1f}, {p95:.1f}"


def lower_priority_gain(bundle: Path, scratch: Path, frames: list[Image]) -> str:
    """The same line with and without the lower priority of sinks that draw and encode."""
    runs: dict[str, list[_Run]] = {"same priority as the line": [], "lower priority": []}
    for _ in range(ROUNDS):
        for name, found in runs.items():
            change = lower_thread_priority if name == "lower priority" else _stay
            with patch.object(worker, "lower_thread_priority", change):
                found.append(_Run(bundle, scratch, frames, SINKS[-1]))
    lines = []
    for name, found in runs.items():
        times = [[v for run in found for v in run.stage(stage)] for stage in ("preprocess_ms", "inference_ms")]
        cells = [name, shown([v for run in found for v in run.total]), *map(shown, times)]
        lines.append(f"| {' | '.join([*cells, str(sum(run.lost for run in found))])} |")
    height, width = frames[0].shape[:2]
    return LOWER_PRIORITY.format(width=width, height=height, fps=FPS, rounds=ROUNDS) + "\n".join(lines) + "\n"


def _stay() -> None:
    """Keep the priority."""
