"""Writes the graph of one plan, as ONNX and IR, and has the gate judge it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple, get_args

import openvino as ov

from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.bundle.bundle import MODEL_XML
from patchcore_edge_runtime.bundle.lower_precision import InferencePrecision, LowerName, LowerPrecision
from patchcore_edge_runtime.bundle.manifest import Labels, ParityReport, QuantizationFacts, SearchFacts
from patchcore_edge_runtime.bundle.model_info import rewrite_model_info
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend, made_for
from patchcore_edge_runtime.verdict import Thresholds

from .convert.float_marks import is_marked
from .convert.lowering import Lowering
from .convert.onnx import export_onnx
from .convert.openvino import convert, save, with_model_info
from .gate.advice import advice
from .gate.deviation import Reference, Scales
from .gate.limits import limits_name
from .gate.onnx_backend import ONNXRuntimeBackend
from .gate.parity import Trial, judge
from .gate.recalibrate import recalibrated, score_pairs
from .graph.edge_model import EdgeModel
from .graph.fast_search import FastPlan
from .options import CalibrationInputs, GraphOptions
from .samples import gate_samples, patch_cell

__all__ = ["BuildResult", "GraphBuilder"]


@dataclass(frozen=True)
class BuildResult:
    """What was written: the search that was taken, thresholds, and how the graph compares with torch."""

    search: Literal["exact", "fast"]
    search_facts: SearchFacts
    parity: ParityReport
    thresholds: Thresholds
    quantization: QuantizationFacts | None = None
    lower: tuple[LowerPrecision, ...] = ()


class _Twin(NamedTuple):
    """The same graph with a bank that has not seen the calibration images."""

    xml: Path
    onnx: ONNXRuntimeBackend


class GraphBuilder:
    """Writes a graph by a plan and has it judged; what plans have in common is made once.

    Args:
        folder: bundle folder to write to.
        fitted: the run's model.
        images: its calibration images, HxWx3 uint8 BGR of the model's size.
        thresholds: of the run.
        options: what was asked for.
        inputs: what only some options and runs need.

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
        self._options, self._inputs = options, inputs
        self._torch = Reference(fitted)
        self._judge_torch = self._torch if inputs.unseen is None else Reference(self.judge)
        self._lowering: Lowering | None = None
        if options.precision == "int8" or options.compress_weights:
            self._lowering = Lowering(compressed=options.compress_weights, train=inputs.train, batch=options.batch)
        self._samples = gate_samples(images, cell=patch_cell(fitted), hidden=fitted.hidden)
        # What the written graph itself is shown, besides what a stand-in for it was.
        self._further = list(inputs.labelled)
        if inputs.unseen is not None:
            self._further += gate_samples(images, hidden=fitted.hidden, seen=True)

    def build_and_check(self, plan: FastPlan | None, why: str) -> BuildResult:
        """The graph of a plan, of exact search without one; ``why`` that plan."""
        search: Literal["exact", "fast"] = "exact" if plan is None else "fast"
        with TemporaryDirectory() as scratch:
            work = Path(scratch)
            onnx = self._write(self._fitted, plan, self._folder / MODEL_XML, work / "model.onnx")
            twin = None
            if self._inputs.unseen is not None:
                twin = _Twin(
                    work / "unseen.xml", self._write(self.judge, plan, work / "unseen.xml", work / "unseen.onnx")
                )
            trials = self._trials(twin, "f32", onnx)
            own = self._own_thresholds(trials[0], search)
            compare = partial(judge, batch=self._options.batch, device="CPU", search=search)
            compare = partial(compare, scales=Scales(self._thresholds, own))
            parity = compare(trials, precision=self._options.gate)
            lower = [
                LowerPrecision(name=name, parity=compare(self._trials(twin, name), precision=limits))
                for name, limits in (self._lower_limits() if parity.passed else ())
            ]
            if self._options.onnx:
                for file in work.glob("model.onnx*"):
                    shutil.copy(file, self._folder / file.name)
        quantization = None if self._lowering is None else self._lowering.facts
        return BuildResult(search, _search_facts(plan, why), parity, own, quantization, tuple(lower))

    def _lower_limits(self) -> list[tuple[LowerName, str]]:
        """The half precisions to try, those that this machine's CPU is made for, and the limits of each."""
        wanted = self._options.lower and is_marked(self._folder / MODEL_XML)
        fast = made_for("CPU") if wanted else frozenset()
        return [(name, limits_name(self._options.gate, name)) for name in get_args(LowerName) if name in fast]

    def _trials(
        self, twin: _Twin | None, precision: InferencePrecision, onnx: ONNXRuntimeBackend | None = None
    ) -> list[Trial]:
        """What the written graph is shown in a precision, and what a stand-in for it is, where it has one."""

        def opened(xml: Path) -> OpenVINOBackend:
            return OpenVINOBackend(xml, "CPU", "latency", inference_precision=precision)

        graph = opened(self._folder / MODEL_XML)
        if twin is None:
            first = Trial(self._torch, graph, self._samples, onnx)
        else:
            first = Trial(self._judge_torch, opened(twin.xml), self._samples, onnx and twin.onnx)
        return [first, Trial(self._torch, graph, self._further, onnx)]

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
