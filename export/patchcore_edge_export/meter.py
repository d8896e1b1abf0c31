"""What a frame costs by a model's graph on a device, before the model is fitted for good: ``tune`` asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import openvino as ov

from patchcore_edge.models import Patchcore
from patchcore_edge.plugins import PRECISIONS
from patchcore_edge_runtime.bundle.lower_precision import InferencePrecision
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend, made_for
from patchcore_edge_runtime.verdict import Thresholds

from .convert.onnx import export_onnx
from .convert.openvino import convert, save
from .convert.quantize import quantize
from .convert.recipe import Recipe
from .graph.edge_model import EdgeModel

__all__ = ["measure_graph"]

_WARM, _FEWEST, _SECONDS = 3, 10, 1.0


def measure_graph(
    model: Patchcore, images: Sequence[Image], device: str, precisions: Sequence[str] = PRECISIONS
) -> dict[str, tuple[float, float]]:
    """Compile and time the exact graph of a model, as ``patchcore_edge.plugins.Meter`` says.

    Raises:
        DeviceError: the device is not there or refuses the graph.
    """
    found: dict[str, tuple[float, float]] = {}
    with TemporaryDirectory() as scratch:
        onnx, xml, low = (Path(scratch) / name for name in ("model.onnx", "fp32.xml", "int8.xml"))
        export_onnx(EdgeModel(model), onnx, 1, model.pre_processor.spec.input_size)
        convert(onnx, xml, Thresholds(image=1.0, pixel=1.0), compress_to_fp16=False)
        if "fp32" in precisions:
            found["fp32"] = (_median(_backend(xml, device, images[0])), _megabytes(xml))
        if "bf16" in precisions and "bf16" in made_for(device):
            found["bf16"] = (_median(_backend(xml, device, images[0], "bf16")), _megabytes(xml))
        if "int8" in precisions:
            core = ov.Core()
            # Mapped into memory the file could not be removed on Windows.
            core.set_property({"ENABLE_MMAP": False})
            # Which layers stay in float is the export's to find out; it costs a little of the time that is won here.
            save(quantize(core.read_model(xml), images, 1, Recipe(budget=None)).model, low, compress_to_fp16=False)
            found["int8"] = (_median(_backend(low, device, images[0])), _megabytes(low))
    return found


def _backend(xml: Path, device: str, image: Image, precision: InferencePrecision = "f32") -> Callable[[], object]:
    backend = OpenVINOBackend(xml, device, "latency", inference_precision=precision)
    backend.images[...] = image
    return lambda: backend.infer(backend.images)


def _median(infer: Callable[[], object]) -> float:
    """Milliseconds of a call."""
    for _ in range(_WARM):
        infer()
    taken: list[float] = []
    begun = perf_counter()
    while len(taken) < _FEWEST or perf_counter() - begun < _SECONDS:
        start = perf_counter()
        infer()
        taken.append(1000 * (perf_counter() - start))
    return float(np.median(taken))


def _megabytes(xml: Path) -> float:
    return sum(file.stat().st_size for file in (xml, xml.with_suffix(".bin"))) / 2**20
