"""The graph's files in a bundle folder: choose the search, write ONNX and IR, and pass the gate."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import openvino as ov

from patchcore_edge.data.synthetic_defects import synthetic_defects
from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.bundle import MODEL_XML
from patchcore_edge_runtime.edit import rewrite_model_info
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.inspector import CompiledGraph
from patchcore_edge_runtime.manifest import Labels, ParityFacts, QuantizationFacts, SearchFacts
from patchcore_edge_runtime.preprocess import Image
from patchcore_edge_runtime.verdict import Thresholds

from .edge_model import EdgeModel
from .fast import FastPlan
from .onnx import OnnxGraph, export_onnx
from .openvino import convert, save
from .parity import LIMITS, Sample, compare, require_parity
from .plan import plan_search
from .quantize import compress_weights, quantize
from .recalibrate import recalibrated, score_pairs

__all__ = ["Built", "Extras", "GraphOptions", "build_graph", "gate_samples"]

_SYNTHETIC = 16
_MAP_SHARES = (1.0, 0.6)
"""Of the map's limit, to plan by: the second where the gate, which sees more images, refuses the first plan."""
_GATE_SEED = 1
"""Other defects than those that the plan was chosen on."""


@dataclass(frozen=True)
class GraphOptions:
    """What ``export`` was asked for.

    Attributes:
        onnx: keep the ONNX file.
        force: keep what the gate refuses.
        compress_weights: store weights in 8 bits a number.
    """

    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    search: Literal["exact", "fast", "auto"] = "exact"
    batch: int = 1
    onnx: bool = False
    force: bool = False
    compress_weights: bool = False

    @property
    def gate(self) -> str:
        """The precision whose limits hold: weights in 8 bits are judged as INT8 is."""
        return "int8" if self.compress_weights else self.precision


@dataclass(frozen=True)
class Extras:
    """What INT8 takes its ranges and thresholds from, and what the gate is shown besides the calibration images.

    Attributes:
        train: good training images, HxWx3 uint8 BGR of the model's size.
        recorded: the calibration images' scores when the run was calibrated.
        labelled: images from ``--data``.
    """

    train: Sequence[Image] = ()
    recorded: Sequence[float] = ()
    labelled: Sequence[Sample] = ()


@dataclass(frozen=True)
class Built:
    """What was written: the search that was taken, thresholds, and how the graph compares with torch."""

    search: Literal["exact", "fast"]
    search_facts: SearchFacts
    parity: ParityFacts
    thresholds: Thresholds
    quantization: QuantizationFacts | None = None


def gate_samples(images: Sequence[Image]) -> list[Sample]:
    """Calibration images, and synthetic defects on some of them."""
    some = list(images[:: max(1, len(images) // _SYNTHETIC)])[:_SYNTHETIC]
    made = [Sample(image, synthetic=True) for image in synthetic_defects(some, _GATE_SEED)]
    return [Sample(image) for image in images] + made


def build_graph(
    folder: Path,
    fitted: Patchcore,
    images: Sequence[Image],
    thresholds: Thresholds,
    options: GraphOptions,
    extras: Extras | None = None,
) -> Built:
    """Write ``model.xml``, ``model.bin`` and, where asked for, ``model.onnx``.

    Args:
        folder: bundle folder to write to.
        fitted: the run's model.
        images: its calibration images, HxWx3 uint8 BGR of the model's size.
        thresholds: of the run.
        options: what was asked for.
        extras: what only some options need.

    Raises:
        ParityError: the graph does not score as ``fitted`` does, and was not forced.
        ConfigError: options that exclude each other.
    """
    if options.compress_weights and options.precision == "int8":
        raise ConfigError("INT8 stores the backbone in 8 bits already; give --precision int8 or --compress-weights.")
    extras = extras or Extras()
    why = "as asked"
    # Chosen on float features: what INT8's map limit has beyond float's is for the error of its own features.
    for share in _MAP_SHARES if options.search != "exact" else ():
        choice = plan_search(fitted, images, thresholds, share * LIMITS["fp32"].fast_map)
        why = choice.reason
        if options.search == "auto" and not (choice.holds and choice.pays):
            break
        built = _attempt(folder, fitted, images, thresholds, options, extras, choice.plan, why)
        if built.parity.passed or (options.search == "fast" and (options.force or share == _MAP_SHARES[-1])):
            return _checked(built, options)
        why = f"the gate refused fast search: {'; '.join(built.parity.failures)}"
    return _checked(_attempt(folder, fitted, images, thresholds, options, extras, None, why), options)


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
    extras: Extras,
    plan: FastPlan | None,
    why: str,
) -> Built:
    search: Literal["exact", "fast"] = "exact" if plan is None else "fast"
    with TemporaryDirectory() as scratch:
        onnx_file = Path(scratch) / "model.onnx"
        export_onnx(EdgeModel(fitted, plan), onnx_file, options.batch, fitted.pre_processor.spec.input_size)
        quantization = _write_ir(onnx_file, folder / MODEL_XML, thresholds, options, extras)
        graph = CompiledGraph(folder / MODEL_XML, "CPU", "latency")
        own = thresholds
        if quantization is not None:
            own = _recalibrated(fitted, graph, images, thresholds, options, extras)
            rewrite_model_info(folder / MODEL_XML, own, Labels())
        parity = compare(
            fitted,
            graph,
            [*gate_samples(images), *extras.labelled],
            batch=options.batch,
            device="CPU",
            precision=options.gate,
            thresholds=thresholds,
            graph_thresholds=own,
            search=search,
            onnx=OnnxGraph(onnx_file),
        )
        if options.onnx:
            for file in Path(scratch).glob("model.onnx*"):
                shutil.copy(file, folder / file.name)
    return Built(search, _search_facts(plan, why), parity, own, quantization)


def _write_ir(
    onnx_file: Path, xml: Path, thresholds: Thresholds, options: GraphOptions, extras: Extras
) -> QuantizationFacts | None:
    if options.precision != "int8" and not options.compress_weights:
        convert(onnx_file, xml, thresholds, compress_to_fp16=options.precision == "fp16")
        return None
    float_xml = onnx_file.with_name("float.xml")
    convert(onnx_file, float_xml, thresholds, compress_to_fp16=False)
    core = ov.Core()
    # Mapped into memory the file could not be removed on Windows.
    core.set_property({"ENABLE_MMAP": False})
    lower = compress_weights if options.compress_weights else quantize
    lowered = lower(core.read_model(float_xml), extras.train, options.batch)
    save(lowered.model, xml, compress_to_fp16=options.precision == "fp16")
    return QuantizationFacts(
        layers=lowered.layers,
        float_layers=lowered.float_layers,
        images=len(extras.train),
        feature_error=lowered.feature_error,
    )


def _recalibrated(
    fitted: Patchcore,
    graph: CompiledGraph,
    images: Sequence[Image],
    thresholds: Thresholds,
    options: GraphOptions,
    extras: Extras,
) -> Thresholds:
    defects = [sample.image for sample in gate_samples(images) if sample.synthetic]
    known = score_pairs(fitted, graph, images, options.batch)
    made = score_pairs(fitted, graph, defects, options.batch)
    return recalibrated(thresholds, known, extras.recorded or [float(v) for v in known.torch_scores], made)


def _search_facts(plan: FastPlan | None, why: str) -> SearchFacts:
    if plan is None:
        return SearchFacts(reason=why)
    return SearchFacts(
        reason=why,
        dimensions=plan.dimensions,
        refined_patches=plan.patches,
        residual_correlation=plan.correlation,
        shortlist=plan.shortlist or None,
        candidates=plan.candidates or None,
    )
