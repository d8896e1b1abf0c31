"""Writes ``docs/many-cameras.md``: python -m benchmarks.many_cameras --bundle BUNDLE [--output FOLDER].

Cameras in one process (tables ``[[line]]``) beside as many processes: resident memory, verdicts per second, latency.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from patchcore_edge_runtime import Bundle

from .cameras import MjpegCameras, cell_frames
from .loop_cameras import read_records, running, wait_for_all
from .machine import machine_and_model
from .pages import DOCS, write_page

CAMERAS = (1, 2, 4, 8)
RATES = (10.0, 60.0)
# As square as a solar cell, whose bundle refuses frames of another shape.
SIZE = (480, 480)

HEAD = """# Many cameras on one PC

Written by `python -m benchmarks.many_cameras --bundle BUNDLE` on {cpu}, {cores} cores, OpenVINO {openvino}. The
bundle is {model} ({backbone}, {height}x{width}, bank of {bank:,}, {precision}).

Each camera sends {wide}x{high} as motion JPEG; a line that cannot keep up judges the newest frame. {seconds:g} s each,
in turns, after all lines have judged their first frames. *One process*: tables `[[line]]` in one file. *Processes*: as
many, each with `--inference-num-threads` so that they share the cores. Memory is in MiB, of all processes together; of
libraries that processes share it counts once, where the system says what is shared (PSS). Frames per second are those
of the slowest and of the fastest line; latency is from frame to verdict in ms, median and 99th percentile over all.

| cameras | fps each | kind | memory | frames/s of a line | all lines | latency |
|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Found:
    """Of several lines at the same time: MiB of all, frames per second of each, and all latencies in ms."""

    memory: float
    fps: list[float]
    latencies: list[float]

    def row(self, count: int, rate: float, kind: str) -> str:
        """A row of the table."""
        p50, p99 = np.percentile(self.latencies, [50, 99])
        slow, fast = min(self.fps), max(self.fps)
        each = f"{slow:.1f}–{fast:.1f}" if count > 1 else f"{slow:.1f}"
        cells = (count, f"{rate:g}", kind, f"{self.memory:.0f}", each, f"{sum(self.fps):.0f}", f"{p50:.1f}, {p99:.1f}")
        return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="bundle to measure, of solar cells")
    parser.add_argument("--output", type=Path, default=DOCS, help="folder of the page")
    parser.add_argument("--cameras", type=int, nargs="+", default=CAMERAS)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    options = parser.parse_args()
    rows = table(options.bundle.resolve(), options.cameras, options.seconds)
    head = HEAD.format(
        **machine_and_model(Bundle.load(options.bundle).manifest),
        wide=SIZE[0],
        high=SIZE[1],
        seconds=options.seconds,
    )
    write_page("many-cameras.md", [head + "\n".join(rows) + "\n"], options.output)


def table(bundle: Path, counts: Sequence[int], seconds: float) -> list[str]:
    """A row for each number of cameras, rate and kind."""
    frames = cell_frames(*SIZE)
    rows = []
    for count in counts:
        for rate in RATES:
            for kind in ("one process", "processes"):
                cameras = MjpegCameras(frames, rate)
                try:
                    with tempfile.TemporaryDirectory() as scratch:
                        urls = [cameras.url(number) for number in range(count)]
                        found = _measure(bundle, Path(scratch), urls, seconds, one=kind == "one process")
                finally:
                    cameras.close()
                rows.append(found.row(count, rate, kind))
                print(rows[-1], flush=True)
    return rows


def _measure(bundle: Path, scratch: Path, urls: list[str], seconds: float, *, one: bool) -> Found:
    results = [scratch / f"camera{number}.jsonl" for number in range(len(urls))]
    commands = [_one_process(bundle, scratch, urls)] if one else _processes(bundle, urls, results)
    with running(commands) as processes:
        wait_for_all(results, processes)
        start = time.time()
        time.sleep(seconds)
        end = time.time()
        memory = sum(_memory(process.pid) for process in processes) / 2**20
    found = [read_records(file, start, end) for file in results]
    stages = ("preprocess", "sanity", "inference", "judge")
    latencies = [sum(record[f"{stage}_ms"] for stage in stages) for records in found for record in records]
    return Found(memory, [len(records) / (end - start) for records in found], latencies)


def _one_process(bundle: Path, scratch: Path, urls: list[str]) -> list[str]:
    lines = [
        f'[[line]]\nname = "camera{number}"\nsource = {{ uri = "{url}" }}\n'
        f'sinks.results = {{ kind = "jsonl", path = "camera{number}.jsonl", max_mb = 0 }}\n'
        for number, url in enumerate(urls)
    ]
    file = scratch / "line.toml"
    file.write_text(f"bundle = '{bundle}'\n" + "".join(lines), encoding="utf-8")
    return [sys.executable, "-m", "patchcore_edge_runtime", "run", "-c", str(file)]


def _processes(bundle: Path, urls: list[str], results: list[Path]) -> list[list[str]]:
    threads = str(max(1, (os.cpu_count() or 1) // len(urls)))
    words = [
        sys.executable,
        "-m",
        "patchcore_edge_runtime",
        "run",
        "-m",
        str(bundle),
        "--inference-num-threads",
        threads,
    ]
    return [[*words, "-s", url, "--results", str(file)] for url, file in zip(urls, results, strict=True)]


def _memory(pid: int) -> float:
    """Bytes that lie in memory; of libraries that processes share the part of this one, where the system says it."""
    facts = psutil.Process(pid).memory_full_info()
    return float(getattr(facts, "pss", facts.rss))


if __name__ == "__main__":
    main()
