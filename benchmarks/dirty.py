"""Writes ``docs/dirty-data.md``: python -m benchmarks.dirty [--shared DIR].

A tenth of the training images is replaced by defective ones that are called good; the other test images say what that
costs, and what ``train --outliers`` saves.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from patchcore_edge.data import DataModule, ImageItem
from patchcore_edge.data.digests import file_sha256
from patchcore_edge.engine import Engine
from patchcore_edge.jobs.train import train_run
from patchcore_edge.metrics.evaluator import evaluate
from patchcore_edge.metrics.scores import collect_scores
from patchcore_edge.runs.checkpoint import load_run
from patchcore_edge_runtime.bundle.recipe import ScoreRule

from .pages import write_page
from .works import Work, all_works

HEAD = """# Training images that are not clean

Written by `python -m benchmarks.dirty --shared ../shared` on the CPU. A tenth of the training images is replaced by
defective ones that are called good; they are taken out of the test images. Score: the map's maximum.

| data | training images | `--outliers` | left out, of them defective | image AUROC | recall at 5 % |
|---|---|---|---|---|---|
"""
FOOT = """
- `drop` leaves out what stands out from the others (a modified z-score above 3.5); a number, as many of the least usual
  ones.
- *Clean* is what all others are to be compared with: the same good images, without the defective ones.
"""


def rows(work: Work) -> list[str]:
    """The table's rows of one work."""
    good, bad = list(work.data.train), [item for item in work.data.test if item.is_defective]
    random.Random(0).shuffle(bad)
    count = len(good) // 10
    wrong = bad[:count]
    tests = [item for item in work.data.test if item not in wrong]
    clean = good[count:]
    dirty = clean + [replace(item, label="good", mask=None) for item in wrong]
    tries: list[tuple[str, list[ImageItem], Literal["keep", "drop"] | int]] = [
        ("clean", clean, "keep"),
        ("clean", clean, "drop"),
        (f"{count} defective", dirty, "keep"),
        (f"{count} defective", dirty, "drop"),
        (f"{count} defective", dirty, count),
    ]
    return [_row(work, name, train, tests, wrong, outliers) for name, train, outliers in tries]


def _row(
    work: Work,
    name: str,
    train: list[ImageItem],
    tests: list[ImageItem],
    wrong: list[ImageItem],
    outliers: Literal["keep", "drop"] | int,
) -> str:
    options = replace(work.train_options(), score=ScoreRule.MAP_MAX, outliers=outliers)
    said: list[str] = []
    with TemporaryDirectory() as folder:
        facts = train_run(DataModule(work.data.root, train, test=tests), Path(folder) / "run", options, said.append)
        model, _ = load_run(Path(folder) / "run")
    dataset = DataModule.dataset(tests, model.pre_processor.spec)
    found = evaluate(collect_scores(Engine("cpu", progress=False).stream(model, dataset)), None)
    left = set(facts.left_out_sha256)
    caught = sum(file_sha256(item.path) in left for item in wrong)
    figures = f"{found.image_auroc:.4f} | {found.recall_at_5:.1%}"
    line = f"| {work.name} | {name} | {outliers} | {len(left)}, {caught} | {figures} |"
    print(line, flush=True)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, help="folder with data/magnetic_tile and weights/")
    given = parser.parse_args()
    found: list[str] = []
    for work in all_works(given.shared):
        if work.ratio == 0.01:
            found += rows(work)
            write_page("dirty-data.md", [HEAD + "\n".join(found) + "\n" + FOOT])


if __name__ == "__main__":
    main()
