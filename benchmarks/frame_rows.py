"""The row of large frames: what a line does with one besides inference, stage by stage."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from patchcore_edge.data import DataModule, ImageItem
from patchcore_edge_export.api import export_model
from patchcore_edge_export.build import GraphOptions
from patchcore_edge_runtime.benchmark import benchmark
from patchcore_edge_runtime.images.files import read_image, write_image
from samples.demo.cells import cell_files

from .limits import limits
from .peer import Peer
from .row import Row
from .subject import Subject

__all__ = ["large_frame"]

HEIGHT, WIDTH = 2160, 3840
FRAMES = 16
SECONDS = 10.0
REACH = 1.5


def large_frame(_peer: Peer, scratch: Path, subject: Subject) -> Row:
    """A camera's 4K frame to its verdict, as ``patchcore-edge-runtime benchmark`` takes it."""
    frames, bundle = scratch / "frames_4k", scratch / f"{subject.backbone}_4k"
    _write_frames(frames)
    if not bundle.is_dir():
        good = [ImageItem(path) for path in sorted(frames.iterdir())]
        data = DataModule(frames, [ImageItem(path) for path in cell_files()[0][: subject.images]], good)
        # Sixteen frames promise nothing; what is measured is time, of the very graph that the other rows have.
        export_model(subject.model(scratch), data, bundle, GraphOptions(search="auto", force=True), target_fpr=0.1)
    found = benchmark(bundle, "CPU", "latency", seconds=SECONDS, source=str(frames), inference_precision="f32")
    stages = {name.removesuffix("_ms"): values["p50"] for name, values in found["stages"].items()}
    ratio = stages["total"] / stages["inference"]
    told = ", ".join(f"{name} {value:.2f} ms" for name, value in stages.items() if name != "total")
    return Row(
        f"{WIDTH}x{HEIGHT} frame → verdict ÷ inference alone, {subject.name}",
        f"{stages['total']:.3g} ms: {told}",
        "unstated",
        f"{ratio:.2f}",
        f"{REACH}",
        ratio <= REACH and not found["errors"],
        f"{found['frames']} frames, {found['errors']} ERROR",
        f"preprocessing: {limits().of_bytes(HEIGHT * WIDTH * 3, stages['preprocess'] / 1e3)}",
    )


def _write_frames(folder: Path) -> None:
    """Cells, enlarged, with the grain of a sensor."""
    if folder.is_dir() and len(list(folder.iterdir())) == FRAMES:
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number, path in enumerate(cell_files()[0][400 : 400 + FRAMES]):
        large = cv2.resize(read_image(path), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        grain = rng.integers(-4, 5, large.shape, np.int16)
        write_image(folder / f"{number:02d}.png", np.clip(large + grain, 0, 255).astype(np.uint8))
