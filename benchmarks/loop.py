"""Writes ``docs/loop.md``: python -m benchmarks.loop [--bundle DIR] [--weights RESNET18] [--scratch DIR].

What the loop adds to inference, where the time goes, and what several cameras on one PC take from one another.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

import openvino as ov

from patchcore_edge.jobs.calibrate import calibrate_run
from patchcore_edge.jobs.train import TrainOptions, train_run
from patchcore_edge.models.weights import DEFAULT_BACKBONE, DEFAULT_LAYERS
from patchcore_edge_export.build import GraphOptions
from patchcore_edge_export.bundle import export_bundle
from patchcore_edge_runtime import Bundle, Inspector
from patchcore_edge_runtime.benchmark import benchmark
from patchcore_edge_runtime.bundle.bundle import write_manifest
from patchcore_edge_runtime.images.files import write_image
from patchcore_edge_runtime.images.frame_check import FrameStats, learn_limits, measure
from patchcore_edge_runtime.images.preprocess import Image, preprocess
from samples.demo.cells import write_cells

from .cameras import cell_frames
from .loop_cameras import several_cameras
from .loop_gains import gains
from .loop_line import lower_priority_gain, one_camera
from .pages import write_page

SIZES = ((640, 480), (1920, 1080), (3840, 2160))
HINT_SECONDS = 4.0

HEAD = """# The loop

Written by `python -m benchmarks.loop{weights}` on {cpu}, {cores} cores, OpenVINO {openvino}.

Frames are solar cells that the model was not fitted on, stretched to the frame's size, every sixth of them defective;
twelve different ones in turns. Times are medians in ms with the 95th percentile behind them.
"""

HINTS = """
## Latency or throughput

`patchcore-edge-runtime benchmark` on frames of 640x480, one camera, {seconds:g} s each, in turns. The throughput hint
keeps several frames in flight, which a line never does: it judges one frame and then the newest.

| model | hint | in flight | frames/s | inference | frame → verdict |
|---|---|---|---|---|---|
"""


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="bundle to measure; made from solar cells when absent")
    parser.add_argument("--weights", type=Path, help="weights of a ResNet-18: measures one with it as well")
    parser.add_argument("--scratch", type=Path, default=Path("demo/loop"), help="folder for data, bundles and results")
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    frames = {size: cell_frames(*size) for size in SIZES}
    found = [options.bundle or _export(options.scratch, None)]
    if options.weights is not None:
        found.append(_export(options.scratch, options.weights))
    bundles = [_with_limits(bundle, options.scratch, frames) for bundle in found]
    facts = {"cpu": ov.Core().get_property("CPU", "FULL_DEVICE_NAME"), "cores": os.cpu_count()}
    weights = " --weights resnet18.safetensors" if options.weights else ""
    parts = [HEAD.format(**facts, openvino=ov.__version__.split("-")[0], weights=weights)]
    parts += [one_camera(bundle, options.scratch, frames) for bundle in bundles]
    parts.append(several_cameras(bundles[0], options.scratch, frames[SIZES[0]]))
    parts.append(_hints(bundles, options.scratch, frames[SIZES[0]]))
    parts.append(lower_priority_gain(bundles[0], options.scratch, frames[SIZES[-1]]))
    parts.append(gains(Inspector(bundles[0]), frames[SIZES[-1]]))
    write_page("loop.md", ["".join(parts)])
    print(parts[0], *parts[-4:])


def _export(scratch: Path, weights: Path | None) -> Path:
    name = "cells" if weights is None else "cells_resnet18"
    data, run, bundle = scratch / "data", scratch / f"{name}_run", scratch / name
    if bundle.is_dir():
        return bundle
    if not data.is_dir():
        write_cells(data)
    backbone, layers, size = (DEFAULT_BACKBONE, DEFAULT_LAYERS, 224)
    if weights is not None:
        backbone, layers, size = "resnet18", ("layer2", "layer3"), 256
    shutil.rmtree(run, ignore_errors=True)
    file = None if weights is None else str(weights)
    train_run(data, run, TrainOptions(backbone, tuple(layers), 0.01, 9, (size, size), file, 0, "cpu"))
    calibrate_run(run, data, 0.01, "cpu")
    export_bundle(run, bundle, GraphOptions())
    return bundle


def _with_limits(bundle: Path, scratch: Path, frames: dict[tuple[int, int], list[Image]]) -> Path:
    """A copy of the bundle whose sanity limits come from these frames: they are larger than the cells."""
    copy = scratch / f"{bundle.name}_limits"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(bundle, copy)
    manifest = Bundle.load(copy).manifest
    stats: list[FrameStats] = []
    for pictures in frames.values():
        stats += [measure(preprocess(picture, manifest.preprocess), picture) for picture in pictures]
    write_manifest(copy, manifest.model_copy(update={"sanity": learn_limits(stats)}))
    return copy


def _hints(bundles: list[Path], scratch: Path, frames: list[Image]) -> str:
    folder = scratch / "frames"
    for number, frame in enumerate(frames):
        write_image(folder / f"{number:02d}.png", frame)
    lines = []
    for bundle in bundles:
        for hint in ("latency", "throughput"):
            facts = benchmark(bundle, "CPU", hint, seconds=HINT_SECONDS, source=str(folder))
            stages = [facts["stages"][stage] for stage in ("inference_ms", "total_ms")]
            times = [f"{stage['p50']:.1f}, {stage['p95']:.1f}" for stage in stages]
            backbone = Bundle.load(bundle).manifest.model.backbone
            cells = [backbone, hint, str(facts["requests"]), f"{facts['fps']:.0f}", *times]
            lines.append(f"| {' | '.join(cells)} |")
    return HINTS.format(seconds=HINT_SECONDS) + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
