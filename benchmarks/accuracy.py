"""Writes ``docs/accuracy.md``: python -m benchmarks.accuracy [--shared DIR] [--peer-python PYTHON].

Fits, calibrates and tests every work of ``benchmarks.works`` on the CPU, and the solar cells by module as well; with a
Python that has anomalib, its figures on the same pixels, weights and bank stand beside ours. Without, those that the
page has stay.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from patchcore_edge.data import DataModule
from patchcore_edge.engine import Engine
from patchcore_edge.jobs.calibrate import calibrate_run
from patchcore_edge.metrics.evaluator import Evaluation, Scores, collect_scores, evaluate
from patchcore_edge.models import Patchcore
from patchcore_edge.runs.checkpoint import load_calibration
from patchcore_edge.runs.fitted import save_fitted
from patchcore_edge_runtime.verdict import Thresholds

from .compare import peer_scores
from .held_out import write_page
from .peer import VERSION, Peer
from .works import FIRST_DEFECTS, Work, all_works, works_by_module

TARGET_FPR = 0.01
PEER = "*anomalib*"

HEAD = """# Accuracy

Written by `python -m benchmarks.accuracy --shared ../shared --peer-python PYTHON` (see there for what is fixed).
All with the exact search of torch in float32, 9 neighbours, on the CPU.

| data | model | bank | images fitted; tested good, defective | image AUROC | recall at 1 % | recall at 5 % \
| in use: rejected, recall | pixel AUROC | AUPRO | F1 |
|---|---|---|---|---|---|---|---|---|---|---|
"""

FOOT = f"""
- *Recall at 1 %, at 5 %*: share of the defective test images above the threshold at which at most 1 % and 5 % of the
  good test images are rejected. Like *F1*, the best that any threshold reaches, it is read off the test images: a
  property of the ranking, not a threshold to use.
- *In use*: share of the good test images that the threshold of `calibrate --target-fpr {TARGET_FPR}` rejects, and share
  of the defective ones that it finds. The threshold comes from the fitted images alone, cross-fitted.
- *AUPRO*: up to a false-positive rate of 0.3. ELPV has no masks.
- {PEER}: {VERSION}'s `PatchcoreModel` on the very same pixels, weights, normalisation and bank; its maps measured
  with our evaluator. See [differences](differences.md). Without PYTHON its rows stay as they were measured before.
- **ELPV** (`elpv-dataset`): cells of defect probability 0 are good, of probability 1 defective.
- **Magnetic tile**: Huang, Qiu, Guo, Wang, Yuan, "Saliency of magnetic tile surface defects"; ResNet-18 with
  torchvision's ImageNet weights.
"""


def run(work: Work, peer: Peer | None, before: dict[str, str]) -> list[str]:
    """The table's rows for one work.

    Args:
        work: what to fit and test.
        peer: measured on the same; when absent its rows come from ``before``.
        before: the page's rows by their first and third column.
    """
    model = work.model()
    engine = Engine("cpu")
    engine.fit(model, work.data)
    dataset = DataModule.dataset(work.data.test, model.pre_processor.spec)
    sides = {"": collect_scores(engine.stream(model, dataset), keep_maps=peer is not None)}
    if peer is not None:
        sides[PEER] = peer_scores(peer, model, dataset, sides[""]).scores
    thresholds = _calibrated(model, work.data)
    bank = f"{len(model.model.memory_bank):,} ({work.ratio:.0%})"
    rows = []
    for count in (None, FIRST_DEFECTS) if work.name.startswith("ELPV mono, random") else (None,):
        name = work.name if count is None else f"{work.name}, first {count} defective"
        for side, scores in sides.items():
            # The peer has no threshold of this kind.
            found = evaluate(_first_defects(scores, count), None if side else thresholds)
            rows.append(_row(f"{name}, {side}" if side else name, work, bank, found))
        if peer is None and (kept := before.get(_key(f"{name}, {PEER}", bank))):
            rows.append(kept)
    print("\n".join(rows), flush=True)
    return rows


def _calibrated(model: Patchcore, data: DataModule) -> Thresholds:
    """The thresholds that `calibrate` sets from the fitted images."""
    with TemporaryDirectory() as folder:
        save_fitted(Path(folder) / "run", model, data)
        calibrate_run(Path(folder) / "run", data, TARGET_FPR, "cpu")
        calibration = load_calibration(Path(folder) / "run")
    assert calibration is not None
    return calibration.thresholds


def _first_defects(scores: Scores, count: int | None) -> Scores:
    if count is None:
        return scores
    keep = [*np.flatnonzero(~scores.labels), *np.flatnonzero(scores.labels)[:count]]
    return replace(
        scores,
        paths=[scores.paths[i] for i in keep],
        kinds=[scores.kinds[i] for i in keep],
        labels=scores.labels[keep],
        scores=scores.scores[keep],
        map_maxima=scores.map_maxima[keep],
        map_medians=scores.map_medians[keep],
        pixels=None,  # ELPV has no masks
    )


def _row(name: str, work: Work, bank: str, found: Evaluation) -> str:
    shares = [_percent(found.recall_at_1), _percent(found.recall_at_5)]
    in_use = "–" if found.recall is None else f"{_percent(found.false_reject_rate)}, {_percent(found.recall)}"
    figures = [_four(value) for value in (found.pixel_auroc, found.aupro, found.image_f1_max)]
    model = f"{work.backbone}, {work.size} px"
    counts = f"{len(work.data.train)}; {found.good}, {found.defective}"
    return f"| {' | '.join([name, model, bank, counts, _four(found.image_auroc), *shares, in_use, *figures])} |"


def _four(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _key(name: str, bank: str) -> str:
    return f"{name} | {bank}"


def rows_of(page: Path) -> dict[str, str]:
    """The rows of a page's table by their first and third column; none where there is no page."""
    lines = page.read_text(encoding="utf-8").splitlines() if page.is_file() else []
    cells = {line: [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")}
    return {_key(columns[0], columns[2]): line for line, columns in cells.items() if len(columns) > 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, help="folder with data/magnetic_tile and weights/")
    parser.add_argument("--peer-python", type=Path, help=f"a Python that has anomalib {VERSION}")
    options = parser.parse_args()
    peer = Peer(options.peer_python) if options.peer_python else None
    before = rows_of(Path(__file__).resolve().parents[1] / "docs" / "accuracy.md")
    works = [*all_works(options.shared), *works_by_module()]
    rows: list[str] = []
    for work in sorted(works, key=lambda work: work.name.split(",")[0]):
        named = replace(work, name=f"{work.name}, random split") if work.name in ("ELPV mono", "ELPV poly") else work
        rows += run(named, peer, before)
        # After each work, for the last ones take long.
        write_page("accuracy.md", [HEAD + "\n".join(rows) + "\n" + FOOT])


if __name__ == "__main__":
    main()
