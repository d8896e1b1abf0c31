"""The graph's files in a bundle folder: choose the search, write ONNX and IR, and pass the gate."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import openvino as ov

from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.bundle.bundle import MODEL_XML
from patchcore_edge_runtime.bundle.manifest import Labels, ParityReport, QuantizationFacts, SearchFacts
from patchcore_edge_runtime.bundle.model_info import rewrite_model_info
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend
from patchcore_edge_runtime.verdict import Thresholds

from .convert.lowering import Lowering
from .convert.onnx import export_onnx
from .convert.openvino import convert, save, with_model_info
from .gate.advice import advice
from .gate.deviation import Reference, Scales
from .gate.onnx_backend import ONNXRuntimeBackend
from .gate.parity import LIMITS, Trial, judge, require_parity
from .gate.recalibrate import recalibrated, score_pairs
from .graph.edge_model import EdgeModel
from .graph.fast_search import FastPlan
from .planning.plan import Choice, plan_search
from .samples import Sample, gate_samples, patch_cell

__all__ = ["BuildResult", "CalibrationInputs", "GraphOptions", "build_graph", "certified", "gate_samples"]

_MAP_SHARES = (1.0, 0.6)
"""Of the map's limit, to plan by: the second where the gate, which sees more images, refuses the first plan."""


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
class CalibrationInputs:
    """What INT8 takes its ranges and thresholds from, and what the gate is shown besides the calibration images.

    Attributes:
        train: good training images, HxWx3 uint8 BGR of the model's size.
        recorded: the calibration images' scores when the run was calibrated.
        labelled: images from ``--data``.
        unseen: the fitted model with a bank that has not seen the calibration images, where its own has.
    """

    train: Sequence[Image] = ()
    recorded: Sequence[float] = ()
    labelled: Sequence[Sample] = ()
    unseen: Patchcore | None = None


@dataclass(frozen=True)
class BuildResult:
    """What was written: the search that was taken, thresholds, and how the graph compares with torch."""

    search: Literal["exact", "fast"]
    search_facts: SearchFacts
    parity: ParityReport
    thresholds: Thresholds
    quantization: QuantizationFacts | None = None


def build_graph(
    folder: Path,
    fitted: Patchcore,
    images: Sequence[Image],
    thresholds: Thresholds,
    options: GraphOptions,
    inputs: CalibrationInputs | None = None,
) -> BuildResult:
    """Write ``model.xml``, ``model.bin`` and, where asked for, ``model.onnx``.

    Args:
        folder: bundle folder to write to.
        fitted: the run's model.
        images: its calibration images, HxWx3 uint8 BGR of the model's size.
        thresholds: of the run.
        options: what was asked for.
        inputs: what only some options and runs need.

    Raises:
        ParityError: the graph does not score as ``fitted`` does, and was not forced.
        ConfigError: options that exclude each other.
    """
    if options.compress_weights and options.precision == "int8":
        raise ConfigError("INT8 stores the backbone in 8 bits already; give --precision int8 or --compress-weights.")
    builder = _Builder(folder, fitted, images, thresholds, options, inputs or CalibrationInputs())

    def plan(share: float) -> Choice:
        # Chosen on float features: what INT8's map limit has beyond float's is for the error of its own features.
        return plan_search(builder.judge, images, thresholds, share * LIMITS["fp32"].fast_map)

    built = certified(options, plan, builder.build_and_check)
    if not options.force:
        require_parity(built.parity, advice(options.precision, built.search, compressed=options.compress_weights))
    return built


def certified(
    options: GraphOptions,
    plan: Callable[[float], Choice],
    build_and_check: Callable[[FastPlan | None, str], BuildResult],
) -> BuildResult:
    """The graph of the search that was asked for, which for ``auto`` is the fast one where it pays and passes.

    Args:
        options: what was asked for.
        plan: chooses a plan that may use so much of the map's limit, a share.
        build_and_check: writes and judges the graph of a plan, of exact search without one, and is told why that one.
    """
    why = "as asked"
    for share in _MAP_SHARES if options.search != "exact" else ():
        choice = plan(share)
        why = choice.reason
        if options.search == "auto" and not (choice.holds and choice.pays):
            break
        built = build_and_check(choice.plan, why)
        if built.parity.passed or (options.search == "fast" and (options.force or share == _MAP_SHARES[-1])):
            return built
        why = f"the gate refused fast search: {'; '.join(built.parity.failures)}"
    return build_and_check(None, why)


class _Builder:
    """Writes a graph by a plan and has it judged; what plans have in common is made once.

    Where the bank has seen the calibration images, a second graph like the first in all but its bank, which has not,
    stands in for it: images that are in a bank have scores near nothing, from which nothing can be told.

    Attributes:
        judge: the model whose bank has not seen the calibration images.
    """

    def __init__(
        self,
        folder: Path,
        fitted: Patchcore,
        images: Sequence[Image],
        thresholds: Thresholds,
        options: GraphOptions,
        inputs: CalibrationInputs,
    ) -> None:
        self.judge = inputs.unseen or fitted
        self._folder, self._fitted, self._thresholds = folder, fitted, thresholds
        self._options, self._inputs, self._images = options, inputs, images
        self._torch = Reference(fitted)
        self._judge_torch = self._torch if inputs.unseen is None else Reference(self.judge)
        self._lowering: Lowering | None = None
        if options.precision == "int8" or options.compress_weights:
            self._lowering = Lowering(compressed=options.compress_weights, train=inputs.train, batch=options.batch)
        self._samples = gate_samples(images, cell=patch_cell(fitted))

    def build_and_check(self, plan: FastPlan | None, why: str) -> BuildResult:
        """The graph of a plan, of exact search without one; ``why`` that plan."""
        with TemporaryDirectory() as scratch:
            work = Path(scratch)
            onnx = self._write(self._fitted, plan, self._folder / MODEL_XML, work / "model.onnx")
            graph = OpenVINOBackend(self._folder / MODEL_XML, "CPU", "latency")
            unseen = Trial(self._torch, graph, self._samples, onnx)
            if self._inputs.unseen is not None:
                onnx_twin = self._write(self.judge, plan, work / "unseen.xml", work / "unseen.onnx")
                twin = OpenVINOBackend(work / "unseen.xml", "CPU", "latency")
                unseen = Trial(self._judge_torch, twin, self._samples, onnx_twin)
            own = self._own_thresholds(unseen, "exact" if plan is None else "fast")
            parity = judge(
                [unseen, *self._further(graph, onnx)],
                batch=self._options.batch,
                device="CPU",
                precision=self._options.gate,
                scales=Scales(self._thresholds, own),
                search="exact" if plan is None else "fast",
            )
            if self._options.onnx:
                for file in work.glob("model.onnx*"):
                    shutil.copy(file, self._folder / file.name)
        quantization = None if self._lowering is None else self._lowering.facts
        return BuildResult("exact" if plan is None else "fast", _search_facts(plan, why), parity, own, quantization)

    def _further(self, graph: OpenVINOBackend, onnx: ONNXRuntimeBackend) -> Iterator[Trial]:
        """What the written graph itself is shown, besides what a stand-in for it was."""
        samples = list(self._inputs.labelled)
        if self._inputs.unseen is not None:
            samples += gate_samples(self._images, seen=True)
        yield Trial(self._torch, graph, samples, onnx)

    def _write(self, model: Patchcore, plan: FastPlan | None, xml: Path, onnx_file: Path) -> ONNXRuntimeBackend:
        edge, half = EdgeModel(model, plan), self._options.precision == "fp16"
        export_onnx(edge, onnx_file, self._options.batch, model.pre_processor.spec.input_size)
        if self._lowering is None:
            convert(onnx_file, xml, self._thresholds, compress_to_fp16=half)
            return ONNXRuntimeBackend(onnx_file)
        float_xml = onnx_file.with_name("float.xml")
        convert(onnx_file, float_xml, self._thresholds, compress_to_fp16=False)
        core = ov.Core()
        # Mapped into memory the file could not be removed on Windows.
        core.set_property({"ENABLE_MMAP": False})
        lowered = self._lowering(core.read_model(float_xml))
        save(with_model_info(lowered, self._thresholds), xml, compress_to_fp16=half)
        return ONNXRuntimeBackend(onnx_file)

    def _own_thresholds(self, unseen: Trial, search: str) -> Thresholds:
        """The run's, or those found again on 8-bit scores; these are put into the written IR."""
        if self._lowering is None:
            return self._thresholds
        good = [sample.image for sample in self._samples if not sample.synthetic]
        made = [sample.image for sample in self._samples if sample.synthetic]
        remedy = advice(self._options.precision, search, compressed=self._options.compress_weights)
        known = score_pairs(unseen.fitted, unseen.graph, good, remedy)
        recorded = self._inputs.recorded or [float(v) for v in known.torch_scores]
        if self._inputs.unseen is not None:
            recorded = ()  # images of one fold, thresholds from all
        defects = score_pairs(unseen.fitted, unseen.graph, made, remedy)
        own = recalibrated(self._thresholds, known, recorded, defects)
        rewrite_model_info(self._folder / MODEL_XML, own, Labels())
        return own


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
