"""Writes ``docs/gate.md``: python -m benchmarks.plain_folder [--shared DIR].

Plain folders of good images, as everyone begins: fitted, calibrated on themselves and exported in every precision with
exact and fast search. What the gate says of each graph without labels is put beside what labelled test images say.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Literal

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from patchcore_edge.data import DataModule
from patchcore_edge.data.evenly_spaced import evenly_chosen
from patchcore_edge.jobs.calibrate import calibrate_run
from patchcore_edge.jobs.train import train_run
from patchcore_edge.runs.checkpoint import load_calibration, load_run
from patchcore_edge_export.build import GraphOptions
from patchcore_edge_export.bundle import export_bundle
from patchcore_edge_runtime.bundle.manifest import Manifest
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend

from .held_out import TARGET_FPR
from .pages import write_page
from .works import Work, all_works

PRECISIONS: tuple[Literal["fp32", "fp16", "int8"], ...] = ("fp32", "fp16", "int8")
SEARCHES: tuple[Literal["exact", "fast"], ...] = ("exact", "fast")
TESTS = 300
FEW = 60

HEAD = """# The gate

Written by `python -m benchmarks.plain_folder --shared ../shared` on {cpu}.

- Good images in a plain folder: `train`, `calibrate` (cross-fitted, false-reject rate {fpr:.0%} asked for), and
  `export` in every precision and with either search. The gate sees no label.
- *Deviation*: largest of a score and of a map, relative to the threshold or to torch's own where that is larger.
- *Synthetic*: image AUROC of synthetic defects among good images that the bank has not seen, and their recall at 1 %
  false rejects, in torch → in the graph.
- *Labelled*: the same of up to {tests} test images, which the gate was not shown; and the share of the defects above
  the threshold, in torch → in the graph.
- *s*: seconds of the whole export, on a machine that was busy.
"""
_COLUMNS = (
    "| precision, search | gate | deviation | synthetic AUROC | recall | labelled AUROC | recall at the threshold | s |"
)


@dataclass(frozen=True)
class Labelled:
    """Test images: ``[n,H,W,3]`` uint8 BGR, True for a defective one, and torch's raw scores ``[n]``."""

    images: NDArray[np.uint8]
    defective: NDArray[np.bool_]
    scores: NDArray[np.float64]


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, help="folder with data/magnetic_tile and weights/")
    parser.add_argument("--only", help="part of the title of the works to measure; writes no page")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    parts = [HEAD.format(cpu=ov.Core().get_property("CPU", "FULL_DEVICE_NAME"), fpr=TARGET_FPR, tests=TESTS)]
    for work in _works(options.shared):
        if options.only and options.only not in _title(work):
            continue
        parts.append(_section(work))
        print(parts[-1], flush=True)
        if not options.only:
            # After each work, for they take long.
            write_page("gate.md", parts)


def _works(shared: Path | None) -> Iterator[Work]:
    """The works with small banks; magnetic tile also with few images, and with the default backbone."""
    for work in all_works(shared):
        if work.ratio != 0.01:
            continue
        yield work
        if work.weights is not None:
            few = replace(work, data=DataModule(work.data.root, work.data.train[:FEW], test=work.data.test))
            plain = Work(few.name, few.data)
            yield from (few, plain)


def _title(work: Work) -> str:
    return f"{work.backbone}, {work.name}, {len(work.data.train)} images, {work.size} px"


def _section(work: Work) -> str:
    with TemporaryDirectory() as scratch:
        folder, run = Path(scratch) / "good", Path(scratch) / "run"
        folder.mkdir()
        for place, item in enumerate(work.data.train):
            (folder / f"{place:04d}{item.path.suffix}").symlink_to(item.path.resolve())
        train_run(folder, run, work.train_options())
        calibrate_run(run, folder, TARGET_FPR, "cpu")
        labelled = _labelled(work, run)
        rows = []
        for precision in PRECISIONS:
            for search in SEARCHES:
                rows.append(_row(run, GraphOptions(precision=precision, search=search, force=True), labelled))
                print(rows[-1], flush=True)
    return "\n".join([f"\n## {_title(work)}\n", _COLUMNS, "|---" * 8 + "|", *rows, ""])


def _labelled(work: Work, run: Path) -> Labelled:
    fitted, facts = load_run(run)
    kinds = [[item for item in work.data.test if item.is_defective is kind] for kind in (False, True)]
    items = [item for kind in kinds for item in evenly_chosen(kind, TESTS // 2)]
    dataset = DataModule.dataset(items, facts.preprocess)
    images = np.stack([dataset.image(index) for index in range(len(items))])
    scores = [float(fitted(torch.from_numpy(image)[None]).pred_score[0]) for image in images]
    return Labelled(images, np.array([item.is_defective for item in items]), np.array(scores))


def _row(run: Path, options: GraphOptions, labelled: Labelled) -> str:
    with TemporaryDirectory() as scratch:
        start = perf_counter()
        manifest = export_bundle(run, Path(scratch) / "bundle", options)
        seconds = perf_counter() - start
        graph = OpenVINOBackend(Path(scratch) / "bundle" / "model.xml", "CPU", "latency")
        got = np.array([float(graph.infer(image[None])[0][0]) for image in labelled.images])
    return _line(manifest, run, labelled, got, seconds)


def _line(manifest: Manifest, run: Path, labelled: Labelled, got: NDArray[np.float64], seconds: float) -> str:
    facts, calibration = manifest.parity, load_calibration(run)
    assert calibration is not None
    bad = labelled.defective
    aurocs = [roc_auc_score(bad, scores) for scores in (labelled.scores, got)]
    recalls = [
        (labelled.scores[bad] > calibration.thresholds.image).mean(),
        (got[bad] > manifest.thresholds.image).mean(),
    ]
    cells = [
        f"{manifest.precision}, {manifest.search}",
        "passes" if facts.passed else f"refuses: {'; '.join(facts.failures)}",
        f"{facts.max_score_deviation:.0e}, {facts.max_map_deviation:.0e}",
        _pair(facts.synthetic_auroc_torch, facts.synthetic_auroc_graph, 4),
        _pair(facts.recall_torch, facts.recall_graph, 3),
        _pair(aurocs[0], aurocs[1], 4),
        _pair(recalls[0], recalls[1], 3),
        f"{seconds:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _pair(before: float | None, after: float | None, digits: int) -> str:
    return "–" if before is None or after is None else f"{before:.{digits}f} → {after:.{digits}f}"


if __name__ == "__main__":
    main()
