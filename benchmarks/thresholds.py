"""Writes the tables of ``docs/thresholds.md``: python -m benchmarks.thresholds [--shared DIR] [--draws N].

Plain folders of a few good images, fitted and calibrated on themselves as ``train`` and ``calibrate`` do, and what
their thresholds then do to images that nobody has seen: good ones rejected, defective ones found.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from patchcore_edge.data import DataModule, ImageItem
from patchcore_edge.engine import Engine
from patchcore_edge.jobs.calibrate import calibrate_run
from patchcore_edge.jobs.cross_validation import Scorer, folds, out_of_fold_scores
from patchcore_edge.jobs.train import train_run
from patchcore_edge.metrics.evaluator import recall_at
from patchcore_edge.metrics.scores import Scores, collect_scores
from patchcore_edge.runs.checkpoint import load_calibration, load_run
from patchcore_edge.thresholds.rank import rank_for, value_at

from .pages import DOCS
from .works import Work, all_works, works_by_module

PAGE = DOCS / "thresholds.md"
RATES = (None, 0.05)
FEW = (20, 60, 150)
HEAD = {
    "draws": (
        "| data | good photos | asked for | different parts | promised | rejected | found "
        "| largest score: rejected, found | recall at 5 % |\n|---|---|---|---|---|---|---|---|---|"
    ),
    "copies": (
        "| data | picture taken again | found, different parts taken for one "
        "| pHash up to 4 bits | 8 bits | 12 bits |\n|---|---|---|---|---|---|"
    ),
    "trials": (
        "| cells | folds | 5 % of all parts asked for: rejected, found | highest score: rejected, found |\n"
        "|---|---|---|---|"
    ),
    "modules": (
        "| cells | AUROC | asked for | threshold | promised for a new batch | rejected | found |\n"
        "|---|---|---|---|---|---|---|"
    ),
}


@dataclass(frozen=True)
class Outcome:
    """What a calibrated threshold does to test images: shares of good ones rejected and of defective ones found."""

    parts: int
    promised: float
    new_batch: float | None
    threshold: float
    rejected: float
    found: float
    by_largest: tuple[float, float]
    recall_at_5: float
    auroc: float


def outcomes(work: Work, train: Sequence[ImageItem], scratch: Path) -> Iterator[Outcome]:
    """One for each of ``RATES``, of a run on these images alone."""
    run, module = scratch / "run", DataModule(work.data.root, train)
    train_run(module, run, work.train_options())
    model, _ = load_run(run)
    test = DataModule.dataset(work.data.test, model.pre_processor.spec)
    scores = collect_scores(Engine("cpu", progress=False).stream(model, test))
    for rate in RATES:
        calibrate_run(run, module, rate, "cpu")
        yield _outcome(run, scores)


def _outcome(run: Path, scores: Scores) -> Outcome:
    calibration = load_calibration(run)
    assert calibration is not None
    facts, threshold = calibration.facts, calibration.thresholds.image
    largest = facts.scores.max * 1.001
    return Outcome(
        facts.n,
        facts.supported_fpr,
        facts.new_batch_fpr,
        threshold,
        *_shares(scores, threshold),
        _shares(scores, largest),
        recall_at(0.05, scores.labels, scores.scores),
        float(roc_auc_score(scores.labels, scores.scores)),
    )


def _shares(scores: Scores, threshold: float) -> tuple[float, float]:
    above: NDArray[np.bool_] = scores.scores > threshold
    return float(above[~scores.labels].mean()), float(above[scores.labels].mean())


def draws(work: Work, count: int) -> Iterator[str]:
    """Rows of a table: means over ``count`` random draws of each number of photos."""
    for photos in FEW:
        found: list[list[Outcome]] = []
        for seed in range(count):
            with TemporaryDirectory() as scratch:
                chosen = random.Random(seed).sample(work.data.train, photos)
                found.append(list(outcomes(work, chosen, Path(scratch))))
        for rate, each in zip(RATES, zip(*found, strict=True), strict=True):
            yield _row(work, photos, rate, each)


def _row(work: Work, photos: int, rate: float | None, each: Sequence[Outcome]) -> str:
    def mean(name: str) -> Any:
        return np.mean([getattr(one, name) for one in each], 0)

    rejected, found = mean("by_largest")
    cells = (
        f"{work.name}, {work.backbone}",
        photos,
        _asked(rate),
        f"{mean('parts'):.1f}",
        f"{mean('promised'):.1%}",
        f"{mean('rejected'):.1%}",
        f"{mean('found'):.2f}",
        f"{rejected:.1%}, {found:.2f}",
        f"{mean('recall_at_5'):.2f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def _asked(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.0%}"


def modules() -> Iterator[str]:
    """Rows of a table: fitted on the first modules, tested on later ones."""
    for work in works_by_module():
        with TemporaryDirectory() as scratch:
            for rate, one in zip(RATES, outcomes(work, work.data.train, Path(scratch)), strict=True):
                promised = "–" if one.new_batch is None else f"{one.new_batch:.1%}"
                figures = f"{one.threshold:.1f} | {promised} | {one.rejected:.1%} | {one.found:.2f}"
                yield f"| {work.name} | {one.auroc:.3f} | {_asked(rate)} | {figures} |"


def trials() -> Iterator[str]:
    """Rows of a table: folds of other kinds on the first modules, 5 % asked for without batches."""
    for work in works_by_module():
        model, engine = work.model(), Engine("cpu", progress=False)
        engine.fit(model, work.data)
        test = DataModule.dataset(work.data.test, model.pre_processor.spec)
        scores = collect_scores(engine.stream(model, test))
        scorer = Scorer(model.model, model.model.patch_grid((work.size, work.size)), (work.size, work.size))
        count = len(work.data.train)
        kinds = {f"random, {number} folds": folds(np.arange(count), 0, number) for number in (5, 10)}
        kinds |= {f"{number} stretches": np.array_split(np.arange(count), number) for number in (3, 5, 10, 20)}
        with engine.features(model, DataModule.dataset(work.data.train, model.pre_processor.spec)) as store:
            for name, parted in kinds.items():
                found = out_of_fold_scores(scorer, store.pool(), parted, work.ratio, 0)
                cells = [f"{work.name} | {name}"]
                for rank in (rank_for(count, 0.05), count):
                    rejected, caught = _shares(scores, value_at(found.scores, rank))
                    cells.append(f"{rejected:.1%}, {caught:.2f}")
                yield f"| {' | '.join(cells)} |"


def write(name: str, rows: Sequence[str]) -> None:
    """Put a table between its marks on the page."""
    text = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, _, rest = text.partition(begin)
    PAGE.write_text(
        before + begin + "\n".join([HEAD[name], *rows]) + "\n" + end + rest.partition(end)[2], encoding="utf-8"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, help="folder with data/magnetic_tile and weights/")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--only", choices=("modules", "trials", "draws"), help="one table")
    options = parser.parse_args()
    for name, made in (("modules", modules), ("trials", trials)):
        if options.only in (None, name):
            rows = []
            for row in made():
                print(row, flush=True)
                rows.append(row)
            write(name, rows)
    if options.only not in (None, "draws"):
        return
    rows = []
    for work in all_works(options.shared)[:3]:
        for row in draws(work, options.draws):
            print(row, flush=True)
            rows.append(row)
        write("draws", rows)


if __name__ == "__main__":
    main()
