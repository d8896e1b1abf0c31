"""Writes ``docs/tuning.md``: python -m benchmarks.tuning [--shared DIR] [--only NAME] [--sizes SIDE ...].

How good the recipe is that ``tune`` chooses from good images alone: every layout of features that it judged is fitted
on all training images as well and held against the labelled test images, which the search has never seen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from patchcore_edge.data import DataModule
from patchcore_edge.engine import Engine
from patchcore_edge.jobs.sight import SightOptions, found_sight
from patchcore_edge.models import Patchcore
from patchcore_edge.tuning.judge import Judge, Seen
from patchcore_edge.tuning.look import columns_of, view_model
from patchcore_edge.tuning.recipe import RULES, Layout, Recipe, View
from patchcore_edge.tuning.tune_page import TUNE_JSON

from .accuracy_tuned import tuned
from .pages import write_page
from .works import Work, all_works, works_by_module

HEAD = """# Finding the recipe

Written by `python -m benchmarks.tuning --shared ../shared` on the CPU: `tune` sees the training images and nothing
else; then every layout of features that it judged is fitted on all of them and scores the labelled test images.

| data | recipes | Spearman, synthetic against real | image AUROC: default | chosen | best of all | default | chosen |
|---|---|---|---|---|---|---|---|
"""
FOOT = """
- *Recipes*: layouts of features (size, layers, space) times score rules; each with the whole bank here.
- *Spearman*: rank correlation between what `tune` made of the recipes, from unseen good images and synthetic defects,
  and their image AUROC on the labelled test images.
- *Chosen*: by `tune`'s own rule, without limits. *Best of all*: read off the test images; nobody could have chosen it.
"""


def real_aurocs(work: Work, layouts: list[Layout], bank_size: int, weights: str | None) -> dict[Layout, list[float]]:
    """Image AUROC of the test images by layout, for each rule."""
    found: dict[Layout, list[float]] = {}
    labels = np.array([item.is_defective for item in work.data.test])
    for view in dict.fromkeys(layout.view for layout in layouts):
        judge, model = _final(work, view, bank_size, weights)
        for layout in (one for one in layouts if one.view == view):
            scores = judge.whole(columns_of(model, layout.layers), layout.pca, layout.centering)[:, -1]
            found[layout] = [float(roc_auc_score(labels, one)) for one in scores]
    return found


def _final(work: Work, view: View, bank_size: int, weights: str | None) -> tuple[Judge, Patchcore]:
    model = view_model(view, weights, found_sight(work.data.train, SightOptions(), print))
    spec, engine = model.pre_processor.spec, Engine("cpu", progress=False)
    pools = []
    for items in (work.data.train, work.data.test):
        with engine.features(model, DataModule.dataset(items, spec)) as store:
            pools.append(torch.as_tensor(store.pool()[:]).clone())
    grid = model.model.patch_grid(spec.input_size)
    none = np.zeros((0, grid[0] * grid[1]), np.float32)
    seen = Seen(pools[0], pools[0][:0], np.zeros(0, np.int64), none, grid, spec.input_size, pools[1])
    return Judge(seen, [np.zeros(0, np.int64)], bank_size, 0), model


@dataclass(frozen=True)
class Tried:
    """A recipe with what ``tune`` makes of it, from good images and synthetic defects."""

    recipe: Recipe
    value: float

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Tried:
        """One of those in ``tune.json``."""
        return cls(Recipe.model_validate(facts["recipe"]), facts["value"])


def row(work: Work, scratch: Path, sides: tuple[int, ...] = ()) -> str:
    """The page's row of one work; what each size makes of it is printed.

    Args:
        work: what is searched and tested.
        scratch: where the run that ``tune`` wrote is kept.
        sides: of the sizes to try; those that ``tune`` tries when empty.
    """
    outcome = json.loads((tuned(work, 0, scratch, sides) / TUNE_JSON).read_text(encoding="utf-8"))
    default, chosen = Tried.of(outcome["default"]), Tried.of(outcome["chosen"])
    bank = default.recipe.bank_size
    whole = [one for one in map(Tried.of, outcome["recipes"]) if one.recipe.bank_size == bank]
    layouts = list(dict.fromkeys(one.recipe.layout for one in whole))
    real = real_aurocs(work, layouts, bank, None if work.weights is None else str(work.weights))
    print(*_by_size(whole, real), sep="\n", flush=True)
    values = [_real(one, real) for one in whole]
    best = whole[int(np.argmax(values))]
    three = (f"{_real(one, real):.4f}" for one in (default, chosen, best))
    figures = [f"{_agreement(whole, values):.2f}", *three]
    words = [_short(one.recipe) for one in (default, chosen)]
    return f"| {' | '.join([work.name, str(len(whole)), *figures, *words])} |"


def _real(one: Tried, real: dict[Layout, list[float]]) -> float:
    return real[one.recipe.layout][RULES.index(one.recipe.score)]


def _agreement(judged: list[Tried], values: list[float]) -> float:
    """Spearman's rank correlation of what ``tune`` makes of recipes with their image AUROC."""
    return float(spearmanr([one.value for one in judged], values).statistic)


def _by_size(whole: list[Tried], real: dict[Layout, list[float]]) -> Iterator[str]:
    """For each size and stride how its recipes rank by synthetic and by real defects, and the real AUROC's mean."""
    for view in dict.fromkeys(one.recipe.layout.view for one in whole):
        own = [one for one in whole if one.recipe.layout.view == view]
        values = [_real(one, real) for one in own]
        height, width = view.image_size
        yield (
            f"{width}x{height} /{view.patch_stride}: {len(own)} recipes, Spearman {_agreement(own, values):.2f}, "
            f"image AUROC {np.mean(values):.4f} on average, {max(values):.4f} at best"
        )


def _short(recipe: Recipe) -> str:
    layout = recipe.layout
    height, width = layout.view.image_size
    pca = "" if layout.pca is None else f", PCA {layout.pca.dimensions:g} a {layout.pca.whitening:g}"
    centred = f", less {layout.centering:g} of the mean" if layout.centering else ""
    return f"{width}x{height} /{layout.view.patch_stride}, {'+'.join(layout.layers)}{pca}{centred}, {recipe.score}"


def works(shared: Path | None) -> Iterator[Work]:
    """One bank size each."""
    yield from (work for work in [*all_works(shared), *works_by_module()] if work.ratio == 0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, help="folder with data/magnetic_tile and weights/")
    parser.add_argument("--only", help="part of the name of the works to measure; writes no page")
    parser.add_argument("--sizes", type=int, nargs="+", default=[], metavar="SIDE", help="sizes to try in tune's place")
    parser.add_argument(
        "--scratch", type=Path, default=Path("demo/accuracy"), help="folder where what tune finds is kept"
    )
    given = parser.parse_args()
    rows = []
    for work in works(given.shared):
        if given.only and given.only not in work.name:
            continue
        rows.append(row(work, given.scratch.resolve(), tuple(given.sizes)))
        print(rows[-1], flush=True)
        if not given.only and not given.sizes:
            write_page("tuning.md", [HEAD + "\n".join(rows) + "\n" + FOOT])


if __name__ == "__main__":
    main()
