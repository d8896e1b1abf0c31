"""Writes ``docs/half-precision.md``: python -m benchmarks.half_precision [--shared DIR].

What it costs in accuracy and brings in time to compute the backbone, or all, in half precision.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from patchcore_edge.data.evenly_spaced import evenly_chosen
from patchcore_edge_export.convert.onnx import export_onnx
from patchcore_edge_export.convert.openvino import convert, save
from patchcore_edge_export.convert.quantize import quantize
from patchcore_edge_export.graph.edge_model import EdgeModel
from patchcore_edge_runtime.bundle.bundle import MODEL_XML
from patchcore_edge_runtime.bundle.lower_precision import InferencePrecision
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend, made_for
from patchcore_edge_runtime.verdict import Thresholds

from .held_out import TARGET_FPR, Fitted, deviation, fit, pixel_auroc, thresholds
from .pages import write_page
from .row import Times, alternating
from .subject import Alone, batches
from .works import Work, all_works

TEST_IMAGES = 160
TRAIN_SAMPLES = 64
TIMED = 20
ROUNDS = 4
MARK = '<attribute name="precise" version="0" />'

HEAD = """# Half precision

Written by `python -m benchmarks.half_precision --shared ../shared` on {cpu}, which computes fast in
{fast}.

- Every fifth training image is held out for the threshold (false-reject rate {fpr:.0%} asked for), which is found on
  float32 torch's scores and stays: half precision has no thresholds of its own. *Flips*: test images whose verdict
  differs from torch's.
- *Deviation*: of an image's raw score from torch's, relative; median and largest.
- *The search too*: the same graph without the marks that keep distances in float32.
- Times: medians of {runs} single-image runs with their quartiles, all rows in turns. Exact search; with fast search
  ([fast search](fast-search.md)) less is left around the backbone.
- Up to {tests} test images, evenly chosen; everything is seeded. ELPV has no masks. INT8's flips are by torch's
  threshold too, while an INT8 bundle has its own ([quantization](quantization.md)).
"""


@dataclass(frozen=True)
class Row:
    """A graph, computed in a precision: scores ``[n]`` and maps ``[n,H,W]`` of held-out and test images."""

    name: str
    scores: NDArray[np.float64]
    maps: NDArray[np.float32]


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, help="folder with data/magnetic_tile and weights/")
    parser.add_argument("--accuracy-only", action="store_true", help="no times, as on a machine that is not idle")
    options = parser.parse_args()
    fast = made_for("CPU")
    if "bf16" not in fast:
        sys.exit("This CPU does not compute in bf16; there is nothing to measure here.")
    cpu = str(ov.Core().get_property("CPU", "FULL_DEVICE_NAME"))
    runs = TIMED * ROUNDS
    parts = [HEAD.format(cpu=cpu, fast=", ".join(sorted(fast)), fpr=TARGET_FPR, runs=runs, tests=TEST_IMAGES)]
    for work in all_works(options.shared):
        if work.name != "ELPV poly" and work.ratio == 0.01:
            parts.append(_section(work, 0 if options.accuracy_only else ROUNDS))
            print(parts[-1], flush=True)
    write_page("half-precision.md", parts)


def _section(work: Work, rounds: int) -> str:
    fitted = fit(work, TEST_IMAGES)
    with TemporaryDirectory() as scratch:
        folders = _graphs(fitted, Path(scratch))
        variants: dict[str, tuple[Path, InferencePrecision]] = {
            "f32": (folders["float"], "f32"),
            "**bf16**": (folders["float"], "bf16"),
            "bf16, the search too": (folders["unmarked"], "bf16"),
            "int8": (folders["int8"], "f32"),
            "int8, its float layers in **bf16**": (folders["int8"], "bf16"),
        }
        backends = {
            name: OpenVINOBackend(folder / MODEL_XML, "CPU", inference_precision=precision)
            for name, (folder, precision) in variants.items()
        }
        rows = [_row(name, backend, fitted) for name, backend in backends.items()]
        runners: dict[str, Callable[[NDArray[np.uint8]], object]] = {
            name: backend.infer for name, backend in backends.items()
        }
        for name, (folder, precision) in variants.items():
            runners[f"backbone {name}"] = Alone(folder, precision)
        times = alternating(runners, batches(list(fitted.test[:TIMED])), rounds) if rounds else {}
    wanted = np.array([float(fitted.model(torch.from_numpy(f)[None]).pred_score[0]) for f in fitted.frames])
    columns = "| computed in | image AUROC | pixel AUROC | deviation | flips | backbone ms | whole ms | times faster |"
    lines = [_line(row, wanted, fitted, times) for row in rows]
    return "\n".join([fitted.title, columns, "|---" * 8 + "|", *lines, ""])


def _graphs(fitted: Fitted, scratch: Path) -> dict[str, Path]:
    """The IR as the product writes it, the same without marks, and with an INT8 backbone; each in a folder."""
    folders = {name: scratch / name for name in ("float", "unmarked", "int8")}
    for folder in folders.values():
        folder.mkdir()
    onnx, xml = scratch / "model.onnx", folders["float"] / MODEL_XML
    export_onnx(EdgeModel(fitted.model), onnx, 1, fitted.model.pre_processor.spec.input_size)
    convert(onnx, xml, Thresholds(image=1.0, pixel=1.0), compress_to_fp16=False)
    plain = folders["unmarked"] / MODEL_XML
    text = xml.read_text(encoding="utf-8")
    if MARK not in text:
        sys.exit("The graph has no marks; the row without them would say nothing.")
    plain.write_text(text.replace(MARK, ""), encoding="utf-8")
    plain.with_suffix(".bin").write_bytes(xml.with_suffix(".bin").read_bytes())
    samples = [fitted.train.image(place) for place in evenly_chosen(range(len(fitted.train)), TRAIN_SAMPLES)]
    save(quantize(ov.Core().read_model(xml), samples, 1).model, folders["int8"] / MODEL_XML, compress_to_fp16=False)
    return folders


def _row(name: str, backend: OpenVINOBackend, fitted: Fitted) -> Row:
    scores, maps = [], []
    for frame in batches(list(fitted.frames)):
        score, anomaly_map = backend.infer(frame)
        scores.append(float(score[0]))
        maps.append(anomaly_map[0, 0].copy())
    return Row(name, np.array(scores), np.stack(maps))


def _line(row: Row, wanted: NDArray[np.float64], fitted: Fitted, times: dict[str, Times]) -> str:
    held = len(fitted.held)
    limit = thresholds(wanted[:held], wanted[:held]).image
    flips = int(((wanted[held:] > limit) != (row.scores[held:] > limit)).sum())
    cells = [
        row.name,
        f"{roc_auc_score(fitted.labels, row.scores[held:]):.4f}",
        pixel_auroc(fitted, row.maps[held:]),
        "{:.2%}, {:.2%}".format(*deviation(row.scores, wanted)),
        f"{flips} of {len(fitted.labels)}",
    ]
    if times:
        alone, whole = times[f"backbone {row.name}"], times[row.name]
        cells += [alone.spread(), whole.spread(), f"{times['f32'].median / whole.median:.2f}"]
    else:
        cells += ["not taken"] * 3
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
