"""DINOv2-S at several image sizes, float32 and INT8, on this CPU: python -m benchmarks.transformers [--weights FILE]

Prints a line per size: milliseconds a frame of the whole graph (median and quartiles, the graphs in turns), the layers
that INT8 leaves in float, the error of its features, that with all layers but the first in INT8, smoothed and not, and
how far its scores are from float32 torch's. Without a file of weights they are random, which does for time and not for
the rest.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray

from patchcore_edge.models import Patchcore
from patchcore_edge_export.convert.openvino import save
from patchcore_edge_export.convert.quantize import Quantized, quantize
from patchcore_edge_export.convert.recipe import Recipe
from patchcore_edge_runtime.bundle.bundle import MODEL_XML
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend

from .bench import machine
from .material import cells
from .row import alternating
from .subject import batches, compiled

BACKBONE = "vit_small_patch14_dinov2.lvd142m"
LAYERS = ("blocks.7", "blocks.11")
SIZES = (224, 336, 448)
BANK = 4096
_BANK_IMAGES, _RANGES, _TIMED = 16, 16, 8
_ROUNDS = 5


@dataclass(frozen=True)
class _Graphs:
    """One model in both precisions."""

    fitted: Patchcore
    exact: OpenVINOBackend
    int8: OpenVINOBackend
    quantized: Quantized
    whole: tuple[float, float]
    """Error of the features with all layers but the first in INT8: smoothed, and not."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="safetensors or pth of DINOv2-S; random weights without it")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="multiples of 14")
    given = parser.parse_args()
    origin = given.weights.name if given.weights else "random weights"
    print(f"{BACKBONE} ({origin}), {', '.join(LAYERS)}, bank {BANK:,}, exact search, on {machine()}\n")
    print(
        "| px | float32 | INT8 | layers in float | feature error | with none of them | … unsmoothed | score deviation |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for size in given.sizes:
        with TemporaryDirectory() as scratch:
            print(_line(size, given.weights, Path(scratch)), flush=True)


def _line(size: int, weights: Path | None, scratch: Path) -> str:
    dataset = cells(_BANK_IMAGES + _RANGES + _TIMED, size)
    images = [dataset.image(index) for index in range(len(dataset))]
    bank, ranges, timed = images[:_BANK_IMAGES], images[_BANK_IMAGES:-_TIMED], batches(images[-_TIMED:])
    graphs = _graphs(_fitted(size, weights, np.stack(bank)), ranges, scratch)
    times = alternating({"float32": graphs.exact.infer, "int8": graphs.int8.infer}, timed, _ROUNDS)
    with torch.inference_mode():
        wanted = [float(graphs.fitted(torch.from_numpy(frame)).pred_score[0]) for frame in timed]
    got = [float(graphs.int8.infer(frame)[0][0]) for frame in timed]
    worst = max(abs(one / other - 1) for one, other in zip(got, wanted, strict=True))
    found = graphs.quantized
    return (
        f"| {size} | {times['float32'].spread()} | {times['int8'].spread()} | "
        f"{len(found.float_layers)} of {found.layers} | {found.feature_error:.1%} | "
        f"{graphs.whole[0]:.1%} | {graphs.whole[1]:.1%} | {worst:.1%} |"
    )


def _fitted(size: int, weights: Path | None, frames: NDArray[np.uint8]) -> Patchcore:
    """A model with the first patches of some cells as its bank: which ones does not matter for time."""
    torch.manual_seed(0)
    spec = Patchcore.configure_pre_processor((size, size))
    fitted = Patchcore(BACKBONE, LAYERS, pre_trained=False, pre_processor=spec, post_processor=False, weights=weights)
    fitted.model.train()
    with torch.inference_mode():
        rows = torch.cat(
            [fitted.model(fitted.pre_processor(frame)) for frame in torch.split(torch.from_numpy(frames), 1)]
        )
    fitted.model.memory_bank = rows[torch.randperm(len(rows))[:BANK]].clone()
    return fitted.eval()


def _graphs(fitted: Patchcore, ranges: list[NDArray[np.uint8]], scratch: Path) -> _Graphs:
    exact = compiled(scratch / "float", fitted, None)
    core = ov.Core()
    core.set_property({"ENABLE_MMAP": False})
    model = core.read_model(scratch / "float" / MODEL_XML)
    quantized = quantize(model, ranges, 1)
    smoothed, plain = (
        quantize(model, ranges, 1, recipe).feature_error
        for recipe in (Recipe(budget=None), Recipe(budget=None, smoothing=None))
    )
    save(quantized.model, scratch / "int8.xml", compress_to_fp16=False)
    return _Graphs(fitted, exact, OpenVINOBackend(scratch / "int8.xml", "CPU", "latency"), quantized, (smoothed, plain))


if __name__ == "__main__":
    main()
