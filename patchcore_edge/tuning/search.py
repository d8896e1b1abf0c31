"""Goes through views and layouts, likeliest first, and keeps what was found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ..engine import Engine
from ..fit.distributed.ranks import ranks
from ..models.feature_extractor import layer_strides
from .choice import Judged
from .evidence import Evidence, combined, evidence
from .journal import Journal
from .judge import SHARES, Found, Judge, Seen
from .look import Pictures, columns_of, seen, view_model
from .operations import operations
from .recipe import CENTERINGS, RULES, Layout, Recipe, View, layer_sets, spaces

__all__ = ["Search", "SearchOptions"]

_CARRIED = 8
"""Layouts that are tried at a further size: the best ones of the sizes before."""
_CENTERED = 4
"""Layouts that are tried centred as well: the best ones."""
_TRUST = 0.05
"""Standard deviation between what synthetic and real defects make of a recipe's gain (docs/tuning.md)."""


@dataclass(frozen=True)
class SearchOptions:
    """How recipes are judged.

    Attributes:
        bank_size: patches of the whole bank of the final fit.
        judged_bank: of a fold's whole bank.
        seed: of the coresets.
        weights: see ``weights_file``.
        by_lot: whether good images differ from lot to lot, and centred features are tried.
        deadline: ``time.monotonic`` after which nothing new is begun; None for never.
    """

    bank_size: int
    judged_bank: int
    seed: int
    weights: str | None
    by_lot: bool
    deadline: float | None


@dataclass
class Search:
    """The layouts that were judged.

    Args:
        pictures: what they are judged on.
        folds: of the good images.
        journal: what was found before.
        engine: extracts features.
        options: how.

    Attributes:
        found: of each layout.
        stopped: whether the deadline cut it short.
    """

    pictures: Pictures
    folds: Sequence[NDArray[np.int64]]
    journal: Journal
    engine: Engine
    options: SearchOptions
    found: dict[Layout, Found] = field(default_factory=dict)
    stopped: bool = False

    def __post_init__(self) -> None:
        defects = self.pictures.defects
        self._sources, self._kinds, self._classes = defects.sources, defects.kinds, defects.sizes

    def run(self, views: Sequence[View], say: Callable[[str], None]) -> None:
        """Judge the layouts of some views: all of each backbone's first, the best at the others, then those centred."""
        known: set[str] = set()
        with tqdm(desc="recipes", unit="recipe", disable=None if self.engine.progress else True) as bar:
            for view in views:
                if self._late():
                    break
                layouts = self._layouts(view, carried=view.backbone in known)
                known.add(view.backbone)
                bar.total = len(self.found) + len(layouts)
                self._judge(view, layouts, bar)
            for view, layouts in self._centered_best().items():
                if self._late():
                    break
                bar.total = len(self.found) + len(layouts)
                self._judge(view, layouts, bar)
        if self.stopped:
            say(f"The time limit is reached: {len(self.found)} layouts of features were judged.")

    def _centered(self, layout: Layout) -> list[Layout]:
        """What of a layout is tried besides: nothing where good images do not differ from lot to lot."""
        shares = CENTERINGS if self.options.by_lot else ()
        return [layout.model_copy(update={"centering": share}) for share in shares]

    def _centered_best(self) -> dict[View, list[Layout]]:
        """By view the best layouts, centred, that were not judged yet."""
        best: dict[Layout, float] = {}
        for one in self.judged():
            layout = one.recipe.plain.layout
            best[layout] = max(best.get(layout, 0.0), one.evidence.value)
        found: dict[View, list[Layout]] = {}
        for layout in sorted(best, key=lambda layout: -best[layout])[:_CENTERED]:
            found.setdefault(layout.view, []).extend(one for one in self._centered(layout) if one not in self.found)
        return {view: layouts for view, layouts in found.items() if layouts}

    def judged(self) -> list[Judged]:
        """Every recipe, with what speaks for it."""
        return [one for layout, found in self.found.items() for one in self._recipes(layout, found)]

    def _layouts(self, view: View, *, carried: bool) -> list[Layout]:
        everything = [
            Layout(view=view, layers=layers, pca=pca)
            for layers in layer_sets(layer_strides(view.backbone))
            for pca in spaces()
        ]
        if not carried:
            return [everything[0], *self._centered(everything[0]), *everything[1:]]
        own = [one for one in self.judged() if one.recipe.layout.view.backbone == view.backbone]
        best: dict[tuple[object, ...], float] = {}
        for one in own:
            key = (one.recipe.layout.layers, one.recipe.layout.pca)
            best[key] = max(best.get(key, 0.0), one.evidence.value)
        kept = sorted(best, key=lambda key: -best[key])[:_CARRIED]
        return [layout for layout in everything if (layout.layers, layout.pca) in kept or layout == everything[0]]

    def _judge(self, view: View, layouts: Sequence[Layout], bar: tqdm[None]) -> None:
        """Features are extracted only where the journal does not have all that is wanted.

        Processes that share the job judge a layout each at a time.
        """
        job = ranks()
        with ExitStack() as held:
            judge: Callable[[Layout], Found] | None = None
            for start in range(0, len(layouts), job.size):
                some = layouts[start : start + job.size]
                own = {layout: found for layout in some if (found := self.journal.read(layout)) is not None}
                places = job.first_value([place for place, layout in enumerate(some) if layout not in own])
                lacking = [some[place] for place in places]
                if lacking:
                    if self._late():
                        return
                    judge = judge or held.enter_context(self._judging(view))
                    if job.rank < len(lacking):
                        own[lacking[job.rank]] = judge(lacking[job.rank])
                for layout in some:
                    found = _everybodys(own.get(layout), self._sizes)
                    if layout in lacking:
                        self.journal.write(layout, found)
                    self._keep(layout, found, bar)

    def _keep(self, layout: Layout, found: Found, bar: tqdm[None]) -> None:
        self.found[layout] = found
        bar.update()
        best = max(self._recipes(layout, found), key=lambda one: one.evidence.value)
        height, width = layout.view.image_size
        bar.set_postfix_str(f"{layout.view.backbone} {height}x{width}: {best.auroc:.3f}")

    @contextmanager
    def _judging(self, view: View) -> Iterator[Callable[[Layout], Found]]:
        """What judges the layouts of a view."""
        model = view_model(view, self.options.weights, self.pictures.sight)
        with seen(view, model, self.pictures, self.engine) as features:
            judge = self._judge_of(features)
            yield lambda layout: judge(columns_of(model, layout.layers), layout.pca, layout.centering)

    @property
    def _sizes(self) -> tuple[int, int, int]:
        return len(self.pictures.good), len(self.pictures.defects), len(self.pictures.real)

    def _judge_of(self, features: Seen) -> Judge:
        return Judge(features, self.folds, self.options.judged_bank, self.options.seed, self.engine.device)

    def _late(self) -> bool:
        deadline = self.options.deadline
        # The default is judged whatever the limit: there has to be something to choose from.
        late = bool(self.found) and deadline is not None and time.monotonic() > deadline
        self.stopped = bool(ranks().first_value(late))
        return self.stopped

    def _recipes(self, layout: Layout, found: Found) -> list[Judged]:
        made = []
        for place, share in enumerate(SHARES):
            for rule, score in enumerate(RULES):
                size = max(1, round(self.options.bank_size * share))
                recipe = Recipe(layout=layout, score=score, bank_size=size)
                made.append(self._judged(recipe, found, rule, place))
        return made

    def _judged(self, recipe: Recipe, found: Found, rule: int, share: int) -> Judged:
        good, defects, located = found.good[rule, share], found.defects[rule, share], found.located[share]
        sources = self._sources
        known = evidence(good, defects, sources, located, self._kinds, self._classes)
        labels = np.array([item.is_defective for item in self.pictures.real], np.bool_)
        real = found.real[rule, share]
        weighed: Evidence = combined(known, np.r_[good, real[~labels]], real[labels], _TRUST)
        auroc = evidence(good, defects, sources, rate=1).value
        return Judged(recipe, weighed, auroc, float(located.mean()), operations(recipe))


def _everybodys(own: Found | None, sizes: tuple[int, int, int]) -> Found:
    """What one process has found, in all of them.

    Args:
        own: of the process that has it; None in the others.
        sizes: how many good images, defects and labelled images there are.
    """
    job = ranks()
    if job.size == 1:
        assert own is not None
        return own
    of_rules = [(len(RULES), len(SHARES), count) for count in sizes]
    shapes = [*of_rules, (len(SHARES), sizes[1]), (1,)]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    flat = torch.zeros(int(ends[-1]))
    if own is not None:
        parts = (own.good, own.defects, own.real, own.located, np.array([own.dimensions]))
        flat = torch.from_numpy(np.concatenate([part.ravel() for part in parts]).astype(np.float32))
    arrays = np.split(job.sum(flat).numpy(), ends[:-1])
    good, defects, real, located, dimensions = (array.reshape(s) for array, s in zip(arrays, shapes, strict=True))
    return Found(good, defects, real, located, int(dimensions[0]))
