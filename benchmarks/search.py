"""Writes ``docs/search.md``: python -m benchmarks.search [--shared DIR].

Exact and fast search on real defects, with the planner's own plan and with poor ones, and what the gate says of each.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from patchcore_edge.models import Patchcore
from patchcore_edge_export.build import gate_samples
from patchcore_edge_export.convert.onnx import export_onnx
from patchcore_edge_export.convert.openvino import convert
from patchcore_edge_export.gate.deviation import Raw, Reference, raw
from patchcore_edge_export.gate.parity import LIMITS, compare
from patchcore_edge_export.graph.edge_model import EdgeModel
from patchcore_edge_export.graph.exact_search import SearchResult, pick
from patchcore_edge_export.graph.fast_search import FastPlan, FastSearch
from patchcore_edge_export.planning.plan import plan_search
from patchcore_edge_runtime.inspection.backend import Backend
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend
from patchcore_edge_runtime.verdict import Thresholds

from .held_out import TARGET_FPR, Fitted, deviation, fit, pixel_auroc, thresholds
from .pages import write_page
from .works import Work, all_works

PRECISION = "fp32"
POOR = ((32, 16), (16, 8), (8, 2))
RUNNING = ((64, 64), (32, 16))
"""Without ρ and with estimates in the running; the first is what once took an AUROC from 0.939 to 0.829."""

HEAD = """# Exact and fast search

Written by `python -m benchmarks.search --shared ../shared` on {cpu}.

- Every fifth training image is held out. On those the planner chooses the coarse space's dimensions d, the number S of
  patches that are compared with the whole bank there, the number T of patches with exact distances, the number k of
  bank vectors that these are taken to, and ρ. Thresholds
  (false-reject rate {fpr:.0%} asked for) and the gate's images come from them as well. Every test image is scored, and
  none is seen before; everything is seeded.
- *Deviation*: of a test image's raw score, relative to float32 torch's; median and largest, good and defective apart.
- *Map*: largest deviation of a test image's map, relative to the larger of torch's maximum and the pixel threshold.
- *Flips*: test images whose verdict differs from torch's.
- *Gate*: what `export` says of the graph, which it compares with torch on the held-out images and on synthetic defects.
- *Estimates in the running*: a coarse estimate becomes the image's score where it is the largest, which the export
  never does.
- ELPV has no masks.
"""

_COLUMNS = "| search | d, S, T, k, ρ | image AUROC | pixel AUROC | deviation, good | defective | map | flips | gate |"

_Answers = tuple[NDArray[np.float64], NDArray[np.float32]]


class EstimatesInTheRunning(FastSearch):
    """What must not be done: an estimate that is larger than all exact distances becomes the image's score."""

    def forward(self, patches: Tensor) -> SearchResult:
        estimates, _ = self.estimate(self.space(patches))
        places = estimates.topk(min(self.plan.patches, patches.shape[1]), dim=1).indices
        distances = estimates.scatter(1, places, self.exact(pick(patches, places)).distances)
        worst = pick(patches, distances.argmax(1))
        return SearchResult(distances, distances, distances.amax(1), worst, self.exact(worst.unsqueeze(1)).neighbor)


@dataclass(frozen=True)
class Case:
    """A way to search: its name, its plan and how to make the graph in a folder."""

    name: str
    plan: FastPlan | None
    make: Callable[[Path], Backend]


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, help="folder with data/magnetic_tile and weights/")
    works = [work for work in all_works(parser.parse_args().shared) if work.name != "ELPV poly"]
    parts = [HEAD.format(cpu=ov.Core().get_property("CPU", "FULL_DEVICE_NAME"), fpr=TARGET_FPR)]
    for work in works:
        parts.append(section(work))
        print(parts[-1], flush=True)
        # After each work, for the last one takes long.
        write_page("search.md", parts)


def section(work: Work) -> str:
    """The page's part about one work."""
    fitted = fit(work)
    model, reference = fitted.model, Reference(fitted.model)
    wanted = _joined(raw(model, frame) for frame in fitted.frames)
    held = len(fitted.held)
    limits = thresholds(wanted[0][:held], wanted[1][:held].max((1, 2)))
    choice = plan_search(model, list(fitted.held), limits, LIMITS[PRECISION].fast_map)
    rows = [_line("float32 torch", "–", fitted, limits, wanted, wanted, "–")]
    for case in _cases(model, choice.plan, limits):
        with TemporaryDirectory() as scratch:
            graph = case.make(Path(scratch))
            says = _gate(fitted, reference, graph, limits, "exact" if case.plan is None else "fast")
            answers = _answers(graph, fitted.frames)
        rows.append(_line(case.name, _told(case.plan), fitted, limits, wanted, answers, says))
        print(rows[-1], flush=True)
    counts = f"{len(fitted.train)} images fitted on, {held} held out, {len(fitted.test)} to test"
    pays = "" if choice.pays else "; `--search auto` takes exact search"
    said = f"{counts} ({int(fitted.labels.sum())} defective). The planner: {choice.reason}{pays}.\n"
    return "\n".join([fitted.title, said, _COLUMNS, "|---" * 9 + "|", *rows, ""])


def _cases(model: Patchcore, chosen: FastPlan, limits: Thresholds) -> Iterator[Case]:
    def compiled(plan: FastPlan | None, running: bool = False) -> Callable[[Path], Backend]:
        return lambda folder: _compiled(model, plan, running, limits, folder)

    yield Case("exact", None, compiled(None))
    yield Case("**fast**, the planner's", chosen, compiled(chosen))
    for dimensions, patches in POOR:
        plan = _altered(chosen, dimensions, patches)
        yield Case("fast, poor", plan, compiled(plan))
    for dimensions, patches in RUNNING:
        plan = replace(_altered(chosen, dimensions, patches), correlation=0.0)
        yield Case("without ρ, estimates in the running", plan, compiled(plan, running=True))


def _altered(plan: FastPlan, dimensions: int, patches: int) -> FastPlan:
    # In fewer dimensions each holds more of the length.
    clip_limit = plan.clip_limit * max(1.0, plan.dimensions / dimensions) ** 0.5
    return replace(plan, dimensions=dimensions, patches=patches, clip_limit=clip_limit, candidates=0, offsets=None)


def _compiled(model: Patchcore, plan: FastPlan | None, running: bool, limits: Thresholds, folder: Path) -> Backend:
    onnx_file, xml = folder / "model.onnx", folder / "model.xml"
    edge = EdgeModel(model, plan)
    if plan is not None and running:
        edge.search = EstimatesInTheRunning(model.model.memory_bank, plan)
    export_onnx(edge, onnx_file, 1, model.pre_processor.spec.input_size)
    convert(onnx_file, xml, limits, compress_to_fp16=False)
    return OpenVINOBackend(xml, "CPU", "latency")


def _answers(graph: Backend, frames: NDArray[np.uint8]) -> _Answers:
    answers = ([value[0].copy() for value in graph.infer(frame[None])] for frame in frames)
    return _joined(Raw(float(score), anomaly_map) for score, anomaly_map in answers)


def _joined(answers: Iterable[Raw]) -> _Answers:
    scores, maps = zip(*answers, strict=True)
    return np.array(scores), np.concatenate(maps)


def _gate(fitted: Fitted, reference: Reference, graph: Backend, limits: Thresholds, search: str) -> str:
    facts = compare(
        reference,
        graph,
        gate_samples(list(fitted.held)),
        batch=1,
        device="CPU",
        precision=PRECISION,
        thresholds=limits,
        search=search,
    )
    return "passes" if facts.passed else f"refuses: {'; '.join(facts.failures)}"


def _told(plan: FastPlan | None) -> str:
    if plan is None:
        return "–"
    shortlist, candidates = plan.shortlist or "all", plan.candidates or "all"
    return f"{plan.dimensions}, {shortlist}, {plan.patches}, {candidates}, {plan.correlation:.2f}"


def _line(
    name: str, plan: str, fitted: Fitted, limits: Thresholds, wanted: _Answers, answers: _Answers, says: str
) -> str:
    held, bad = len(fitted.held), fitted.labels
    scores, maps = answers[0][held:], answers[1][held:]
    base, base_maps = wanted[0][held:], wanted[1][held:]
    apart = np.abs(maps - base_maps).max((1, 2)) / np.maximum(base_maps.max((1, 2)), limits.pixel)
    cells = [
        name,
        plan,
        f"{roc_auc_score(bad, scores):.4f}",
        pixel_auroc(fitted, maps),
        *("{:.0e}, {:.0e}".format(*deviation(scores[some], base[some])) for some in (~bad, bad)),
        f"{apart.max():.0e}",
        f"{int(((scores > limits.image) != (base > limits.image)).sum())} of {len(bad)}",
        says,
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
