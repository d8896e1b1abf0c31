"""Rows of what runs on the line PC: latency, the share of the search, deviation from torch, and the import."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchcore_edge.data import DataModule, ImageItem
from patchcore_edge.models import Patchcore
from patchcore_edge_export.build import BuildResult, CalibrationInputs, GraphOptions
from patchcore_edge_export.gate.parity import Sample
from patchcore_edge_runtime.bundle.bundle import MODEL_XML
from patchcore_edge_runtime.bundle.manifest import ParityReport
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend, made_for
from samples.demo.cells import cell_files

from .limits import backbone_operations_of, limits
from .peer import Peer
from .peer_graphs import PeerGraph, mahalanobis_graph, patchcore_ir
from .row import Row, Times, alternating
from .subject import Alone, Subject, batches, compiled

ROUNDS = 4
REPEATS = 3
SAME_SCORE = 1e-3
LABELLED = 60
DEVIATION_LIMITS = {"fp32": 1e-4, "fp16": 5e-3}

IMPORT_OURS = """
import json, pathlib, sys, time
start = time.perf_counter()
from patchcore_edge_runtime import Inspector, draw_overlay
seconds = time.perf_counter() - start
peak = int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"seconds": seconds, "mib": peak, "modules": len(sys.modules)}))
"""


@dataclass
class Latency:
    """Both sides' time from a frame to score and map, the backbone's alone, and how far the scores are apart.

    ``int8`` and ``bf16`` are timed beside the others and do not enter a ratio that is asked for of float.

    Attributes:
        operations: of the backbone, for one frame.
    """

    times: dict[str, Times]
    built: BuildResult
    deviation: float
    frames: int
    operations: float


_measured: dict[Subject, Latency] = {}
"""Of this process, so that two rows of one subject take one measurement."""


def latency(subject: Subject, reach: float) -> Callable[[Peer, Path], Row]:
    """The row of one backbone."""

    def row(peer: Peer, scratch: Path) -> Row:
        found = _latency(subject, peer, scratch)
        ours, lowered, theirs = (found.times[name] for name in ("ours", "int8", "peer"))
        ratio = theirs.median / ours.median
        half = found.times.get("bf16")
        return Row(
            f"frame → score + map, {subject.name}",
            f"{ours.spread()}, {found.built.search} search; with an INT8 backbone {lowered.spread()}; "
            f"{'no bf16 here' if half is None else f'in bf16 {half.spread()}'}",
            theirs.spread(),
            f"{ratio:.1f}x; INT8 {theirs.median / lowered.median:.1f}x"
            + ("" if half is None else f"; bf16 {theirs.median / half.median:.1f}x"),
            f"{reach:g}x",
            ratio >= reach,
            f"{found.frames} different cells, scores within {found.deviation:.0e}; {found.built.search_facts.reason}",
            limits().of_products(found.operations, ours.median)
            + " (the backbone's operations, the whole graph's time)",
        )

    return row


def pipeline(subject: Subject) -> Callable[[Peer, Path], Row]:
    """Whole graph ÷ backbone alone."""

    def row(peer: Peer, scratch: Path) -> Row:
        found = _latency(subject, peer, scratch)
        ours, theirs, alone = (found.times[name] for name in ("ours", "peer", "backbone"))
        ratio = ours.median / alone.median
        return Row(
            f"whole graph ÷ backbone alone ({alone.spread()}), {subject.name}",
            f"{ratio:.2f}",
            f"{theirs.median / alone.median:.1f}",
            f"{ratio:.2f}",
            "1.15",
            ratio <= 1.15 and found.built.search == "fast",
            f"{found.built.search_facts.reason}; exact search on the same frames: "
            f"{found.times['exact'].median / alone.median:.2f}",
            f"the backbone: {limits().of_products(found.operations, alone.median)}",
        )

    return row


def _latency(subject: Subject, peer: Peer, scratch: Path) -> Latency:
    if subject not in _measured:
        _measured[subject] = _measure(subject, peer, scratch / f"{subject.backbone}_{subject.size}")
    return _measured[subject]


def _measure(subject: Subject, peer: Peer, folder: Path) -> Latency:
    fitted = subject.model(folder.parent)
    # Random features lie so close together that rounding alone exceeds the gate's limit; time does not ask for it.
    options = GraphOptions(search="auto") if subject.weights else GraphOptions(search="fast", force=True)
    built = subject.graph(folder / "auto", fitted, options)
    subject.graph(
        folder / "int8", fitted, replace(options, precision="int8"), CalibrationInputs(train=subject.held_out())
    )
    graphs = {
        "auto": OpenVINOBackend(folder / "auto" / MODEL_XML, "CPU", "latency"),
        "int8": OpenVINOBackend(folder / "int8" / MODEL_XML, "CPU", "latency"),
        "exact": compiled(folder / "exact", fitted, None),
    }
    theirs = PeerGraph(patchcore_ir(peer, fitted, folder / "peer", subject))
    frames = batches(subject.timed())
    deviation = max(abs(theirs.score(frame) / float(graphs["auto"].infer(frame)[0][0]) - 1) for frame in frames)
    if deviation > SAME_SCORE:
        sys.exit(f"{subject.name}: the two sides' scores differ by {deviation:.1e}; they do not do the same work.")
    runners: dict[str, Callable[[NDArray[np.uint8]], Any]] = {
        "ours": graphs["auto"].infer,
        "int8": graphs["int8"].infer,
        "peer": theirs,
        "exact": graphs["exact"].infer,
        "backbone": Alone(folder / "exact"),
    }
    if "bf16" in made_for("CPU"):
        half = OpenVINOBackend(folder / "auto" / MODEL_XML, "CPU", "latency", inference_precision="bf16")
        runners["bf16"] = half.infer
    operations = backbone_operations_of(folder / "exact" / MODEL_XML)
    return Latency(alternating(runners, frames, ROUNDS), built, deviation, len(frames), operations)


def beside_mahalanobis(subject: Subject) -> Callable[[Peer, Path], Row]:
    """The other model of the peer's, with a bank of its own choice: not the same work, but the same job."""

    def row(peer: Peer, scratch: Path) -> Row:
        found, folder = _latency(subject, peer, scratch), scratch / "mahalanobis"
        theirs, facts = mahalanobis_graph(peer, subject.model(scratch), folder, subject)
        ours = OpenVINOBackend(scratch / f"{subject.backbone}_{subject.size}" / "auto" / MODEL_XML, "CPU", "latency")
        runners: dict[str, Callable[[NDArray[np.uint8]], Any]] = {"ours": ours.infer, "peer": theirs}
        times = alternating(runners, batches(subject.timed()), ROUNDS)
        ratio = times["peer"].median / times["ours"].median
        return Row(
            f"frame → score + map beside `MHPatchcore`, {subject.name}",
            f"{times['ours'].spread()}, {found.built.search} search",
            f"{times['peer'].spread()}, bank of {facts['bank'][0]:,}; fit {facts['fit_seconds']:.0f} s",
            f"{ratio:.1f}x",
            "stated",
            True,
            "the same cells, backbone and layers; its bank and distance are its own, its accuracy is in accuracy.md",
            limits().of_products(found.operations, times["ours"].median),
        )

    return row


def deviation(subject: Subject) -> Callable[[Peer, Path], Row]:
    """Image scores of IRs of three precisions against float32 torch, by the export's own gate."""

    def row(peer: Peer, scratch: Path) -> Row:
        fitted = subject.model(scratch)
        inputs = CalibrationInputs(train=subject.held_out(), labelled=_labelled(fitted))
        told, reached, images = [], True, 0
        for precision in ("fp32", "fp16", "int8"):
            folder = scratch / f"{subject.backbone}_{precision}"
            built = subject.graph(folder, fitted, GraphOptions(precision=precision, force=True), inputs)
            facts = built.parity
            drop = _drop(facts)
            limit = DEVIATION_LIMITS.get(precision)
            reached &= drop <= 5e-3 if limit is None else facts.max_score_deviation <= limit
            told.append(_told(precision, facts))
            if precision == "fp32":
                told += [_told(lower.name, lower.parity) for lower in built.lower]
            images = facts.images
        return Row(
            f"largest score deviation of the IR from torch, {subject.name}",
            "; ".join(told),
            "unstated",
            "as shown",
            "1e-4; 5e-3; AUROC −0.005",
            reached,
            f"{images} cells: good, with synthetic defects, and {LABELLED} each of real good and defective ones",
        )

    return row


def _drop(facts: ParityReport) -> float:
    return (facts.auroc_torch or 0.0) - (facts.auroc_graph or 0.0)


def _told(name: str, facts: ParityReport) -> str:
    return f"{name} {facts.max_score_deviation:.0e}, AUROC {-_drop(facts):+.4f}, {facts.verdict_flips} flips"


def _labelled(fitted: Patchcore) -> list[Sample]:
    good, defective = cell_files()
    samples = []
    for paths, is_defective in ((good[400:], False), (defective, True)):
        chosen = paths[:: len(paths) // LABELLED][:LABELLED]
        dataset = DataModule.dataset([ImageItem(path) for path in chosen], fitted.pre_processor.spec)
        samples += [Sample(dataset.image(index), is_defective) for index in range(len(dataset))]
    return samples


def imported(peer: Peer, scratch: Path) -> Row:
    """Resident memory of importing what a program needs of the runtime, before a model is loaded."""
    runs = [json.loads(subprocess.check_output([sys.executable, "-c", IMPORT_OURS])) for _ in range(REPEATS)]
    theirs = [peer.run("imported") for _ in range(REPEATS)]
    ours_mib, peer_mib = (statistics.median(run["mib"] for run in side) for side in (runs, theirs))
    ours_s, peer_s = (Times([run["seconds"] for run in side]) for side in (runs, theirs))
    return Row(
        "runtime import (`Inspector`, `draw_overlay`), resident memory",
        f"{ours_mib:.0f} MiB, {ours_s.spread()}",
        f"{peer_mib:.0f} MiB, {peer_s.spread()}",
        f"{peer_mib / ours_mib:.1f}x",
        "under 90 MiB",
        ours_mib < 90,
        f"{runs[0]['modules']:,} and {theirs[0]['modules']:,} modules",
    )
