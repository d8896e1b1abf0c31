"""Several cameras on one PC: one ``patchcore-edge-runtime run`` for each, as docs/deploy.md has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from patchcore_edge_runtime.images.preprocess import Image

from .cameras import MjpegCameras

CAMERAS = (1, 2, 3, 4)
RATES = (10.0, 60.0)
SECONDS = 5.0
START_SECONDS = 60.0

HEAD = """
## Several cameras

Each camera has a process of its own (`patchcore-edge-runtime run --results …`) and sends 640x480 as motion JPEG, at 10
frames per second and at 60; a line that cannot keep up judges the newest frame. {seconds:g} s each.
*Threads*: `--inference-num-threads`, all cores where it is not given. Frames per second are those of the slowest and of
the fastest line; latency is from frame to verdict, in ms, median and 95th percentile over all lines.

| cameras | threads each | 10 fps: frames/s | latency | 60 fps: frames/s | latency | all lines together |
|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class _Lines:
    """Of several lines at the same time: frames per second of each, and all latencies in ms."""

    fps: list[float]
    latencies: list[float]

    @property
    def rate(self) -> str:
        return f"{min(self.fps):.1f}–{max(self.fps):.1f}" if len(self.fps) > 1 else f"{self.fps[0]:.1f}"

    @property
    def latency(self) -> str:
        p50, p95 = np.percentile(self.latencies, [50, 95])
        return f"{p50:.1f}, {p95:.1f}"


def several_cameras(bundle: Path, scratch: Path, frames: list[Image]) -> str:
    """The table for one to four cameras."""
    cores = os.cpu_count() or 1
    lines = []
    for count in CAMERAS:
        share = max(1, cores // count)
        for threads in (None, share) if share < cores else (None,):
            found = [_measure(bundle, scratch, frames, count, threads, fps) for fps in RATES]
            free = found[1]
            cells = [str(count), str(threads or "all"), found[0].rate, found[0].latency, free.rate, free.latency]
            lines.append(f"| {' | '.join([*cells, f'{sum(free.fps):.0f} frames/s'])} |")
            print(lines[-1], flush=True)
    return HEAD.format(seconds=SECONDS) + "\n".join(lines) + "\n"


def _measure(bundle: Path, scratch: Path, frames: list[Image], count: int, threads: int | None, fps: float) -> _Lines:
    cameras = MjpegCameras(frames, fps)
    files = [scratch / f"camera{number}.jsonl" for number in range(count)]
    for file in files:
        file.unlink(missing_ok=True)
    try:
        with running([_command(bundle, cameras.url(n), file, threads) for n, file in enumerate(files)]) as lines:
            wait_for_all(files, lines)
            start = time.time()
            time.sleep(SECONDS)
            end = time.time()
    finally:
        cameras.close()
    found = [read_records(file, start, end) for file in files]
    latencies = [sum(r[f"{s}_ms"] for s in ("preprocess", "sanity", "inference", "judge")) for rs in found for r in rs]
    return _Lines([len(records) / (end - start) for records in found], latencies)


def _command(bundle: Path, url: str, results: Path, threads: int | None) -> list[str]:
    more = [] if threads is None else ["--inference-num-threads", str(threads)]
    words = ["-m", "patchcore_edge_runtime", "run", "-m", str(bundle), "-s", url, "--results", str(results), *more]
    return [sys.executable, *words]


@contextmanager
def running(commands: list[list[str]]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Programs that run until the end of the block, and are told to stop there."""
    lines = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    try:
        yield lines
    finally:
        for line in lines:
            line.terminate()
        for line in lines:
            line.wait(30)


def wait_for_all(files: list[Path], lines: list[subprocess.Popen[bytes]]) -> None:
    """Until each line has judged some frames, so that all have started before the clock does."""
    end = time.monotonic() + START_SECONDS
    while not all(file.is_file() and file.stat().st_size > 4000 for file in files):
        if time.monotonic() > end or any(line.poll() is not None for line in lines):
            raise RuntimeError("a line did not start")
        time.sleep(0.05)


def read_records(file: Path, start: float, end: float) -> list[dict[str, Any]]:
    """The records of a JSONL file from between two moments; an ERROR is none of what is measured."""
    # The last line may have been cut off where the system ends programs without asking them.
    whole = file.read_text(encoding="utf-8").rpartition("\n")[0]
    records = [json.loads(line) for line in whole.splitlines()]
    records = [record for record in records if start <= record["time"] < end]
    if not records or any(record["verdict"] == "ERROR" for record in records):
        raise RuntimeError(f"{file.name}: no frames, or frames that could not be judged")
    return records
