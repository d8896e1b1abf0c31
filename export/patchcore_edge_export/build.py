"""The graph's files in a bundle folder: choose the search, write ONNX and IR, and pass the gate."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.bundle import MODEL_XML
from patchcore_edge_runtime.inspector import CompiledGraph
from patchcore_edge_runtime.manifest import ParityFacts, SearchFacts
from patchcore_edge_runtime.preprocess import Image
from patchcore_edge_runtime.verdict import Thresholds

from .defects import synthetic_defects
from .edge_model import EdgeModel
from .fast import FastPlan
from .onnx import OnnxGraph, export_onnx
from .openvino import convert
from .parity import LIMITS, Sample, compare, require_parity
from .plan import plan_search

__all__ = ["Built", "GraphOptions", "build_graph", "gate_samples"]

_SYNTHETIC = 16
_GATE_SEED = 1
"""Other defects than those that the plan was chosen on."""


@dataclass(frozen=True)
class GraphOptions:
    """What ``export`` was asked for; ``onnx`` keeps the ONNX file, ``force`` keeps what the gate refuses."""

    precision: Literal["fp32", "fp16"] = "fp32"
    search: Literal["exact", "fast", "auto"] = "exact"
    batch: int = 1
    onnx: bool = False
    force: bool = False


@dataclass(frozen=True)
class Built:
    """What was written: the search that was taken and how the graph compares with torch."""

    search: Literal["exact", "fast"]
    search_facts: SearchFacts
    parity: ParityFacts


def gate_samples(images: Sequence[Image]) -> list[Sample]:
    """Calibration images, and synthetic defects on some of them."""
    some = list(images[:: max(1, len(images) // _SYNTHETIC)])[:_SYNTHETIC]
    made = [Sample(image, synthetic=True) for image in synthetic_defects(some, _GATE_SEED)]
    return [Sample(image) for image in images] + made


def build_graph(
    folder: Path, fitted: Patchcore, images: Sequence[Image], thresholds: Thresholds, options: GraphOptions
) -> Built:
    """Write ``model.xml``, ``model.bin`` and, where asked for, ``model.onnx``.

    Args:
        folder: bundle folder to write to.
        fitted: the run's model.
        images: its calibration images, HxWx3 uint8 BGR of the model's size.
        thresholds: of the run.
        options: what was asked for.

    Raises:
        ParityError: the graph does not score as ``fitted`` does, and was not forced.
    """
    why = "as asked"
    if options.search != "exact":
        choice = plan_search(fitted, images, thresholds, LIMITS[options.precision].fast_map)
        why = choice.reason
        if options.search == "fast" or (choice.holds and choice.pays):
            built = _attempt(folder, fitted, images, thresholds, options, choice.plan, why)
            if options.search == "fast" or built.parity.passed:
                return _checked(built, options)
            why = f"the gate refused fast search: {'; '.join(built.parity.failures)}"
    return _checked(_attempt(folder, fitted, images, thresholds, options, None, why), options)


def _checked(built: Built, options: GraphOptions) -> Built:
    if not options.force:
        require_parity(built.parity)
    return built


def _attempt(
    folder: Path,
    fitted: Patchcore,
    images: Sequence[Image],
    thresholds: Thresholds,
    options: GraphOptions,
    plan: FastPlan | None,
    why: str,
) -> Built:
    search: Literal["exact", "fast"] = "exact" if plan is None else "fast"
    with TemporaryDirectory() as scratch:
        onnx_file = Path(scratch) / "model.onnx"
        export_onnx(EdgeModel(fitted, plan), onnx_file, options.batch, fitted.pre_processor.spec.input_size)
        convert(onnx_file, folder / MODEL_XML, thresholds, compress_to_fp16=options.precision == "fp16")
        parity = compare(
            fitted,
            CompiledGraph(folder / MODEL_XML, "CPU", "latency"),
            gate_samples(images),
            batch=options.batch,
            device="CPU",
            precision=options.precision,
            thresholds=thresholds,
            search=search,
            onnx=OnnxGraph(onnx_file),
        )
        if options.onnx:
            for file in Path(scratch).iterdir():
                shutil.copy(file, folder / file.name)
    return Built(search, _search_facts(plan, why), parity)


def _search_facts(plan: FastPlan | None, why: str) -> SearchFacts:
    if plan is None:
        return SearchFacts(reason=why)
    return SearchFacts(
        reason=why,
        dimensions=plan.dimensions,
        refined_patches=plan.patches,
        residual_correlation=plan.correlation,
    )
