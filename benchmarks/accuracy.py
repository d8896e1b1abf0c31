"""Writes ``docs/accuracy.md``: python -m benchmarks.accuracy [--shared DIR] [--peer-python PYTHON].

Fits and tests every work of ``benchmarks.works`` on the CPU; with a Python that has anomalib, its figures on the
same pixels, weights and bank stand beside ours.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from patchcore_edge.data import DataModule
from patchcore_edge.engine import Engine
from patchcore_edge.evaluator import Evaluation, Scores, collect_scores, evaluate

from .compare import peer_scores
from .peer import VERSION, Peer
from .works import FIRST_DEFECTS, Work, all_works

HEAD = """# Accuracy

Written by `python -m benchmarks.accuracy --shared ../shared --peer-python PYTHON` (see there for what is fixed).
All with the exact search of torch in float32, 9 neighbours, on the CPU.

| data | backbone | input | bank | images fitted; tested good, defective | image AUROC | pixel AUROC | AUPRO | F1 |
|---|---|---|---|---|---|---|---|---|
"""

FOOT = f"""
- *anomalib*: {VERSION}'s `PatchcoreModel` on the very same pixels, weights, normalisation and bank; its maps measured
  with our evaluator. See [differences](differences.md).
- *F1*: the best that any threshold reaches on the test images: a property of the ranking, not a threshold to use.
- *AUPRO*: up to a false-positive rate of 0.3. ELPV has no masks.
- **ELPV** (`elpv-dataset`): cells of defect probability 0 are good, of probability 1 defective. 300 good ones
  (shuffled, `random.Random(0)`) are fitted on; all others are tested. *First {FIRST_DEFECTS} defective* are the first
  in the package's list; the later ones are harder, for anomalib as much as for us.
- **Magnetic tile**: Huang, Qiu, Guo, Wang, Yuan, "Saliency of magnetic tile surface defects"; ResNet-18 with
  torchvision's ImageNet weights.
"""


def run(work: Work, peer: Peer | None) -> list[str]:
    """The table's rows for one work."""
    model = work.model()
    engine = Engine("cpu")
    engine.fit(model, work.data)
    dataset = DataModule.dataset(work.data.test, model.pre_processor.spec)
    ours = collect_scores(engine.stream(model, dataset), keep_maps=True)
    bank = f"{len(model.model.memory_bank):,} ({work.ratio:.0%})"
    sides = {"": ours}
    if peer is not None:
        sides["anomalib"] = peer_scores(peer, model, dataset, ours).scores
    rows = []
    for defects in (None, FIRST_DEFECTS) if work.data.root.name.startswith("ELPV mono") else (None,):
        for side, scores in sides.items():
            chosen = _first_defects(scores, defects)
            name = work.name if defects is None else f"{work.name}, first {defects} defective"
            rows.append(_row(f"{name}, *{side}*" if side else name, work, bank, evaluate(chosen, None)))
            print(rows[-1], flush=True)
    return rows


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
    figures = (found.image_auroc, found.pixel_auroc, found.aupro, found.image_f1_max)
    cells = " | ".join("–" if value is None else f"{value:.4f}" for value in figures)
    counts = f"{len(work.data.train)}; {found.good}, {found.defective}"
    return f"| {name} | {work.backbone} | {work.size} | {bank} | {counts} | {cells} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, help="folder with data/magnetic_tile and weights/")
    parser.add_argument("--peer-python", type=Path, help=f"a Python that has anomalib {VERSION}")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/accuracy.md"))
    options = parser.parse_args()
    peer = Peer(options.peer_python) if options.peer_python else None
    rows: list[str] = []
    for work in all_works(options.shared):
        rows += run(work, peer)
        # After each work, for the last ones take long.
        options.output.write_text(HEAD + "\n".join(rows) + "\n" + FOOT, encoding="utf-8")


if __name__ == "__main__":
    main()
