"""Writes ``docs/quantization.md``: python -m benchmarks.quantization [--shared DIR].

Each recipe is measured on this CPU as it is and with its newer instructions masked (``ONEDNN_MAX_CPU_ISA=AVX2``), in a
process of its own, because oneDNN reads that once.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from patchcore_edge.data.evenly_spaced import evenly_chosen
from patchcore_edge.models import Patchcore
from patchcore_edge_export.convert.backbone import backbone_model
from patchcore_edge_export.convert.onnx import export_onnx
from patchcore_edge_export.convert.quantize import compress_weights, quantize
from patchcore_edge_export.convert.recipe import Recipe
from patchcore_edge_export.graph.edge_model import EdgeModel

from .held_out import TARGET_FPR, Fitted, deviation, fit, pixel_auroc, thresholds
from .int8_trials import controlled_recipe, with_bank_of
from .pages import write_page
from .works import Work, all_works

TRAIN_SAMPLES = 128
TEST_IMAGES = 160
NO_VNNI_EACH = 3
REPEATS = 40
NNCF = Recipe(
    budget=None, overflow_fix="first", float_first=False, extremes=False, bias_correction="fast", float_sums=False
)
RECIPES = {
    "NNCF's defaults": NNCF,
    "… overflow fix in all layers": replace(NNCF, overflow_fix="all"),
    "… and accurate bias correction": replace(NNCF, overflow_fix="all", bias_correction="accurate"),
    "overflow fix, ranges from extremes, no bias correction": Recipe(budget=None, float_first=False, float_sums=False),
    "… and first layer, sums and pools in float": Recipe(budget=None),
    "**int8**: … and the layers that err most in float": Recipe(),
}

HEAD = """# Quantization

Written by `python -m benchmarks.quantization --shared ../shared` on {cpu}.

- Every fifth training image is held out for thresholds (false-reject rate {fpr:.0%} asked for), which are found again
  on each graph's own scores. *Flips*: test images whose verdict differs from float32 torch's.
- *Feature error*: of the backbone, relative to how much the features vary on training images.
- *Deviation*: of an image's raw score, relative to fp32; median and largest.
- *No VNNI*: every {each}rd image again with `ONEDNN_MAX_CPU_ISA=AVX2`, which OpenVINO's oneDNN honours. Its AUROC is of
  these images; *as is* is what they have on this CPU as it is.
- *Accuracy control*: NNCF's `quantize_with_accuracy_control`, given the same recipe, training images and budget for the
  features' error; it quantizes all and takes layers back until the error fits.
- *Re-extracted*: the coreset's patches embedded anew by the INT8 backbone, in place of the float bank.
- Times: the fastest of {repeats} single-image runs, taken in turns with the other rows', in ms. Sizes in MB.
- Up to {tests} test images, evenly chosen; everything is seeded. ELPV has no masks.
"""

_Scores = NDArray[np.float64]
_Made = tuple[ov.Model, bool, float, str]
"""A graph, whether its weights are stored in half precision, its features' error, its layers in float."""


@dataclass
class Row:
    """What was measured of one graph."""

    name: str
    error: float
    floats: str
    size: float
    scores: dict[str, _Scores]
    maps: NDArray[np.float32]
    seconds: float
    backbone_ms: float = 0.0
    whole_ms: float = 0.0


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, help="folder with data/magnetic_tile and weights/")
    options = parser.parse_args()
    works = [work for work in all_works(options.shared) if work.name != "ELPV poly" and work.ratio == 0.01]
    cpu = str(ov.Core().get_property("CPU", "FULL_DEVICE_NAME"))
    head = HEAD.format(cpu=cpu, fpr=TARGET_FPR, repeats=REPEATS, tests=TEST_IMAGES, each=NO_VNNI_EACH)
    parts = [head]
    for work in works:
        parts.append(_section(work))
        print(parts[-1], flush=True)
    write_page("quantization.md", parts)


def _section(work: Work) -> str:
    fitted = fit(work, TEST_IMAGES)
    samples = [fitted.train.image(place) for place in evenly_chosen(range(len(fitted.train)), TRAIN_SAMPLES)]
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        np.save(folder / "frames.npy", fitted.frames)
        np.save(folder / "some.npy", fitted.test[::NO_VNNI_EACH])
        graph = _converted(fitted.model, folder)
        rows = [_row(name, make, folder) for name, make in _variants(fitted, graph, samples, folder).items()]
        _time(rows, folder, fitted.frames[:1])
    torch_scores = np.array([float(fitted.model(torch.from_numpy(f)[None]).pred_score[0]) for f in fitted.frames])
    table = [_line(row, rows[0], torch_scores, fitted) for row in rows]
    columns = (
        "| graph | feature error | layers in float | image AUROC | pixel AUROC | rank correlation | deviation | flips "
        "| AUROC, no VNNI | deviation, no VNNI | backbone ms (times faster) | whole ms | MB | made in s |"
    )
    return "\n".join([fitted.title, columns, "|---" * 14 + "|", *table, ""])


def _converted(model: Patchcore, folder: Path, name: str = "float") -> ov.Model:
    export_onnx(EdgeModel(model), folder / "model.onnx", 1, model.pre_processor.spec.input_size)
    xml = folder / f"{name}.xml"
    ov.save_model(ov.convert_model(str(folder / "model.onnx")), xml, compress_to_fp16=False)
    return ov.Core().read_model(xml)


def _variants(fitted: Fitted, graph: ov.Model, samples: list[Any], folder: Path) -> dict[str, Callable[[], _Made]]:
    def lowered(recipe: Recipe, graph: ov.Model = graph) -> _Made:
        done = quantize(graph, samples, 1, recipe)
        return done.model, False, done.feature_error, f"{len(done.float_layers)} of {done.layers}"

    def compressed() -> _Made:
        done = compress_weights(graph, samples, 1)
        return done.model, True, done.feature_error, f"{len(done.float_layers)} of {done.layers}"

    def reextracted() -> _Made:
        model = with_bank_of(fitted, graph, quantize(graph, samples, 1).model)
        return lowered(Recipe(), _converted(model, folder, "reextracted"))

    return {
        "fp32": lambda: (graph, False, 0.0, "all"),
        "fp16": lambda: (graph, True, 0.0, "all"),
        **{name: partial(lowered, recipe) for name, recipe in RECIPES.items()},
        "… those that NNCF's accuracy control keeps": lambda: lowered(controlled_recipe(graph, samples)),
        "**int8**, the bank re-extracted through it": reextracted,
        "fp16 with **compressed weights**": compressed,
    }


def _row(name: str, make: Callable[[], _Made], folder: Path) -> Row:
    start = perf_counter()
    graph, half, error, floats = make()
    seconds = perf_counter() - start
    stem = f"g{len(list(folder.glob('g*.bin')))}"
    xml = folder / f"{stem}.xml"
    ov.save_model(graph, xml, compress_to_fp16=half)
    ov.save_model(backbone_model(graph), folder / f"{stem}_backbone.xml", compress_to_fp16=half)
    (folder / f"{stem}_backbone.bin").rename(folder / f"b{stem}.bin")
    (folder / f"{stem}_backbone.xml").rename(folder / f"b{stem}.xml")
    scores, maps = {}, {}
    for isa, frames in (("DEFAULT", "frames.npy"), ("AVX2", "some.npy")):
        out = folder / "out.npz"
        command = [sys.executable, "-m", "benchmarks.score_ir", str(xml), str(folder / frames), str(out)]
        done = subprocess.run(command, check=isa == "DEFAULT", env={**os.environ, "ONEDNN_MAX_CPU_ISA": isa})
        if done.returncode:
            continue  # oneDNN has no such primitive under the mask; the page says so
        with np.load(out) as found:
            scores[isa], maps[isa] = found["scores"], found["maps"]
    print(name, error, floats, flush=True)
    return Row(name, error, floats, xml.with_suffix(".bin").stat().st_size / 1e6, scores, maps["DEFAULT"], seconds)


def _time(rows: list[Row], folder: Path, frame: NDArray[np.uint8]) -> None:
    config = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    core = ov.Core()
    stems = [f"{kind}{place}" for place in range(len(rows)) for kind in ("bg", "g")]
    graphs = [core.compile_model(str(folder / f"{stem}.xml"), "CPU", config) for stem in stems]
    requests = [graph.create_infer_request() for graph in graphs]
    best = [float("inf")] * len(requests)
    for _ in range(REPEATS):
        for place, request in enumerate(requests):
            start = perf_counter()
            request.infer({"frame": frame})
            best[place] = min(best[place], (perf_counter() - start) * 1e3)
    for place, row in enumerate(rows):
        row.backbone_ms, row.whole_ms = best[2 * place], best[2 * place + 1]


def _line(row: Row, base: Row, wanted: _Scores, fitted: Fitted) -> str:
    scores, held, labels = row.scores["DEFAULT"], len(fitted.held), fitted.labels
    verdicts = [values[held:] > thresholds(values[:held], values[:held]).image for values in (wanted, scores)]
    masked, some = row.scores.get("AVX2"), labels[::NO_VNNI_EACH]
    cells = [
        row.name,
        f"{row.error:.1%}",
        row.floats,
        f"{roc_auc_score(labels, scores[held:]):.4f}",
        pixel_auroc(fitted, row.maps[held:]),
        f"{spearmanr(wanted[held:], scores[held:]).statistic:.4f}",
        _deviation(scores, base.scores["DEFAULT"]),
        f"{int((verdicts[0] != verdicts[1]).sum())} of {len(labels)}",
        "does not compile"
        if masked is None
        else f"{roc_auc_score(some, masked):.4f} (as is {roc_auc_score(some, scores[held::NO_VNNI_EACH]):.4f})",
        "–" if masked is None else _deviation(masked, base.scores["DEFAULT"][held::NO_VNNI_EACH]),
        f"{row.backbone_ms:.1f} ({base.backbone_ms / row.backbone_ms:.1f})",
        f"{row.whole_ms:.1f}",
        f"{row.size:.1f}",
        f"{row.seconds:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _deviation(scores: _Scores, base: _Scores) -> str:
    return "{:.1%}, {:.1%}".format(*deviation(scores, base))


if __name__ == "__main__":
    main()
