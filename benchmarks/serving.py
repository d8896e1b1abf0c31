"""Writes ``docs/serving-cost.md``: python -m benchmarks.serving --bundle BUNDLE [--server-python PYTHON].

What a model server over loopback adds to a frame, and how many cameras of 30 frames a second it answers in time, beside
as many line processes and beside one process with parallel requests. The server is KServe's own, with the runtime in
``samples/serving``; PYTHON has what ``samples/serving/requirements/kserve.txt`` names (``make test-serving`` makes it).
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from patchcore_edge_runtime import Bundle, Inspector
from patchcore_edge_runtime.benchmark import golden_frames
from patchcore_edge_runtime.serving.model_repository import write_repository

from .machine import machine_and_model
from .pages import DOCS, write_page
from .serving_cameras import FPS, Found, Place, cameras

LIMIT_MS = 100.0
KEPT = 0.95
"""Of a camera's frames that have to be judged: where fewer are, its latency is that of those it was lucky with."""
KINDS = ("server, gRPC", "server, HTTP", "line processes", "one process")
ROOT = Path(__file__).resolve().parents[1]

HEAD = """# What a model server costs

Written by `python -m benchmarks.serving --bundle BUNDLE` on {cpu}, {cores} cores, OpenVINO {openvino}. The bundle is
{model} ({backbone}, {height}x{width}, batch {batch}, {precision}). The server is KServe's own with the runtime in
`samples/serving`, over loopback, on the same cores as the lines that ask it.

## What the way adds to a frame

One camera, {seconds:g} s, frame after frame, in turns; OpenVINO's latency hint on both sides. *Inference* is the time
between the frame's pixels and score and map, in ms.

| | p50 | p99 | added p50 | added p99 |
|---|---|---|---|---|
"""

CAMERAS = """
## Cameras at {fps:g} frames a second

{seconds:g} s each. Latency is from the moment a frame is due to its verdict, in ms, over all cameras. A number of
cameras is answered in time where p99 is below {limit:g} ms and {kept:.0%} of the frames are judged; the last row of
each kind is the first number that is not.

| kind | cameras | frames judged | p50 | p99 | in time |
|---|---|---|---|---|---|
"""


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="a ResNet-18 at 256 px for the figures asked for")
    parser.add_argument("--server-python", type=Path, default=ROOT / ".venv-serving/kserve/bin/python")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--most", type=int, default=32, help="cameras that are tried")
    parser.add_argument("--output", type=Path, default=DOCS, help="folder of the page")
    options = parser.parse_args()
    bundle = options.bundle.resolve()
    page = HEAD.format(**machine_and_model(Bundle.load(bundle).manifest), seconds=options.seconds)
    with tempfile.TemporaryDirectory() as scratch:
        repository = Path(scratch) / "repository"
        write_repository([f"line={bundle}"], repository)
        with serving(options.server_python, repository, "LATENCY") as urls:
            page += added(bundle, urls, options.seconds)
        page += CAMERAS.format(fps=FPS, seconds=options.seconds, limit=LIMIT_MS, kept=KEPT)
        with serving(options.server_python, repository, "THROUGHPUT") as urls:
            for kind in KINDS:
                page += most_cameras(kind, bundle, urls, options.seconds, options.most)
    write_page("serving-cost.md", [page], options.output)


def added(bundle: Path, urls: dict[str, str], seconds: float) -> str:
    """The rows of the first table."""
    inspectors = {"the line's own device": Inspector(bundle)}
    inspectors |= {kind: Inspector(bundle, server=url) for kind, url in urls.items()}
    frames = golden_frames(Bundle.load(bundle))
    times: dict[str, list[float]] = {kind: [] for kind in inspectors}
    until = time.monotonic() + seconds * len(inspectors)
    number = 0
    while time.monotonic() < until:
        frame = frames[number % len(frames)]
        number += 1
        for kind, inspector in inspectors.items():
            result = inspector(frame)
            assert result.verdict != "ERROR", result.reason
            times[kind].append(result.timings.inference_ms)
    found = {kind: np.percentile(values, [50, 99]) for kind, values in times.items()}
    own = found["the line's own device"]
    rows = ""
    for kind, (p50, p99) in found.items():
        more = "| | |" if kind == "the line's own device" else f"| {p50 - own[0]:.2f} | {p99 - own[1]:.2f} |"
        rows += f"| {kind} | {p50:.2f} | {p99:.2f} {more}\n"
        print(rows.splitlines()[-1], flush=True)
    return rows


def most_cameras(kind: str, bundle: Path, urls: dict[str, str], seconds: float, most: int) -> str:
    """The rows of one kind: 1, 2, 3 … cameras, up to the first number that is not answered in time."""
    place: Callable[[int], Place] = {
        "server, gRPC": lambda _: Place(str(bundle), server=urls["server, gRPC"]),
        "server, HTTP": lambda _: Place(str(bundle), server=urls["server, HTTP"]),
        "line processes": lambda count: Place(str(bundle), threads=max(1, (os.cpu_count() or 1) // count)),
        "one process": lambda _: Place(str(bundle), together=True),
    }[kind]
    rows = ""
    for count in range(1, most + 1):
        found = cameras(place(count), count, seconds)
        good = in_time(found)
        p50, p99 = np.percentile(found.latencies, [50, 99])
        rows += f"| {kind} | {count} | {found.judged:.0%} | {p50:.1f} | {p99:.1f} | {'yes' if good else 'no'} |\n"
        print(rows.splitlines()[-1], flush=True)
        if not good:
            break
    return rows


def in_time(found: Found) -> bool:
    """Whether every camera was answered as the page says."""
    return found.judged >= KEPT and float(np.percentile(found.latencies, 99)) < LIMIT_MS


@contextmanager
def serving(python: Path, repository: Path, hint: str) -> Iterator[dict[str, str]]:
    """URLs of the model on a server that is up."""
    ports = [free_port(), free_port()]
    words = [str(python), "-m", "samples.serving.kserve_server", str(repository), "--hint", hint]
    words += ["--http-port", str(ports[0]), "--grpc-port", str(ports[1])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    quiet = subprocess.DEVNULL
    with subprocess.Popen(words, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet) as server:
        try:
            wait_for(f"http://127.0.0.1:{ports[0]}/v2/models/line-bundle/ready", server)
            yield {
                "server, gRPC": f"grpc://127.0.0.1:{ports[1]}/line",
                "server, HTTP": f"http://127.0.0.1:{ports[0]}/line",
            }
        finally:
            server.terminate()


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    """Until the server has loaded what it is to serve."""
    until = time.monotonic() + 120
    while time.monotonic() < until and server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise SystemExit("The server does not start; see whether --server-python has kserve and openvino.")


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()
