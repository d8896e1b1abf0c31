"""Writes ``docs/recipes.md``: python -m benchmarks.recipes [--shared DIR] [--only NAME].

Features of each work are extracted once; each recipe then takes its own space, bank and score rule from them, and its
exact graph is compiled and timed. Labelled test images say how well it ranks; nothing is chosen by them here.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from patchcore_edge.data import DataModule
from patchcore_edge.engine import Engine
from patchcore_edge.metrics.evaluator import evaluate
from patchcore_edge.metrics.pixel_histogram import PixelHistogram
from patchcore_edge.metrics.scores import Scores
from patchcore_edge.models import Patchcore
from patchcore_edge.plugins import load_meter
from patchcore_edge_runtime.bundle.recipe import PcaOptions, ScoreRule

from .pages import write_page
from .works import Work, all_works

SPACES: dict[str, PcaOptions | None] = {
    "as they are": None,
    "PCA .99": PcaOptions(dimensions=0.99),
    "PCA .99, a = .25": PcaOptions(dimensions=0.99, whitening=0.25),
    "PCA .99, a = .5": PcaOptions(dimensions=0.99, whitening=0.5),
    "PCA .99, a = 1": PcaOptions(dimensions=0.99, whitening=1.0),
    "PCA .9, a = .5": PcaOptions(dimensions=0.9, whitening=0.5),
}

HEAD = """# Recipes

Written by `python -m benchmarks.recipes --shared ../shared`.

- `train --score RULE --pca K --whitening a`: how distances become an image's score, and the space they are taken in.
- Each row shares the features of its work, the size of the bank and the test images; the image AUROC of each rule, then
  AUPRO (up to a false-positive rate of 0.3) and pixel AUROC of the maps, which no rule changes. ELPV has no masks.
- *Fit*: seconds from features to bank. *Frame*: milliseconds of the exact graph in float32, batch 1. Both depend on the
  machine; compare within a table.
"""
_COLUMNS = "| space | dimensions | " + " | ".join(ScoreRule) + " | AUPRO | pixel AUROC | fit, s | frame, ms |"


@dataclass(frozen=True)
class Features:
    """What all recipes of a work share: patches ``[n * P, D]`` to fit on, ``[P, D]`` of each test image, masks."""

    model: Patchcore
    pool: Tensor
    tests: list[Tensor]
    labels: np.ndarray
    masks: list[np.ndarray | None]


def features(work: Work) -> Features:
    model, engine = work.model(), Engine("cpu", progress=False)
    spec = model.pre_processor.spec
    pools = []
    for items in (work.data.train, work.data.test):
        with engine.features(model, DataModule.dataset(items, spec)) as store:
            pools.append(torch.as_tensor(store.pool()[:]))
            assert len(store.images) == len(items)
    dataset = DataModule.dataset(work.data.test, spec)
    labels = np.array([item.is_defective for item in work.data.test])
    tests = list(pools[1].reshape(len(labels), -1, pools[1].shape[1]))
    return Features(model, pools[0], tests, labels, [dataset.mask(place) for place in range(len(labels))])


@torch.inference_mode()
def row(shared: Features, name: str, pca: PcaOptions | None) -> str:
    model = shared.model
    model.pca = pca
    start = perf_counter()
    model.fit(shared.pool)
    seconds = perf_counter() - start
    size = model.pre_processor.spec.input_size
    grid = model.model.patch_grid(size)
    scores: dict[ScoreRule, list[float]] = {rule: [] for rule in ScoreRule}
    pixels: PixelHistogram | None = PixelHistogram()
    for patches, mask in zip(shared.tests, shared.masks, strict=True):
        for rule in ScoreRule:
            model.model.score = rule
            scored = model.model.score_patches(patches[None], grid, size)
            scores[rule].append(float(scored.pred_score[0]))
        if mask is None:
            pixels = None
        if pixels is not None and mask is not None:
            pixels.add(scored.anomaly_map[0, 0].numpy(), mask)
    measured = [evaluate(_scores(shared, np.array(values, np.float32), pixels), None) for values in scores.values()]
    figures = [f"{one.image_auroc:.4f}" for one in measured]
    figures += ["–" if value is None else f"{value:.4f}" for value in (measured[0].aupro, measured[0].pixel_auroc)]
    image = np.zeros((*size, 3), np.uint8)
    frame = load_meter()(model, [image], "CPU", ("fp32",))["fp32"][0]
    cells = [name, str(model.model.memory_bank.shape[1]), *figures, f"{seconds:.1f}", f"{frame:.1f}"]
    return f"| {' | '.join(cells)} |"


def _scores(shared: Features, values: np.ndarray, pixels: PixelHistogram | None) -> Scores:
    count = len(values)
    kinds = ["defective" if label else "good" for label in shared.labels]
    return Scores([Path(str(i)) for i in range(count)], kinds, shared.labels, values, values, values, pixels)


def works(shared: Path | None) -> list[Work]:
    """One bank size each."""
    return [work for work in all_works(shared) if work.ratio == 0.01]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, help="folder with data/magnetic_tile and weights/")
    parser.add_argument("--only", help="part of the name of the works to measure; writes no page")
    options = parser.parse_args()
    parts = [HEAD]
    for work in works(options.shared):
        if options.only and options.only not in work.name:
            continue
        shared = features(work)
        title = f"{work.name}: {work.backbone}, {' and '.join(work.layers)}, {work.size} px, bank {work.ratio:.0%}"
        rows = []
        for name, pca in SPACES.items():
            rows.append(row(shared, name, pca))
            print(title, rows[-1], flush=True)
        parts.append("\n".join([f"\n## {title}\n", _COLUMNS, "|---" * 10 + "|", *rows, ""]))
        if not options.only:
            write_page("recipes.md", parts)


if __name__ == "__main__":
    main()
