"""Golden images: a few inputs with the scores they must get, for any device and any language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from patchcore_edge.data.evenly_spaced import evenly_chosen
from patchcore_edge.data.synthetic_defects import make_defects
from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.bundle.golden_map import deviation, golden_map
from patchcore_edge_runtime.bundle.lower_precision import LowerName, LowerTolerance
from patchcore_edge_runtime.bundle.manifest import GoldenImage, GoldenMap
from patchcore_edge_runtime.images.files import write_image
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.inspection.backend import Backend

from ..samples import Sample, patch_cell, some_of

__all__ = ["LEAST_MAP_TOLERANCE", "OWN_TOLERANCE", "Expectation", "choose_golden", "write_golden"]

OWN_TOLERANCE = 2e-2
"""Allowed deviation from the graph's own score, relative: devices round INT8 features in their own ways."""

LEAST_MAP_TOLERANCE = 1e-2
"""Allowed deviation of a map's cells: the self-test finds wrong maps, the gate those that are not good enough."""

_SPAN = 3
_CANDIDATES = 16
_CLEAR = 1.02

Origin = Literal["good", "defect", "synthetic"]
Choice = tuple[Image, float, Origin]
"""An image, its raw score in float32 torch, and what it shows."""


@dataclass(frozen=True)
class Expectation:
    """What the golden scores are.

    Attributes:
        graph: as written, on this machine's CPU.
        own: expect the graph's own scores and not those of float32 torch.
        tolerance: allowed deviation, relative.
        map_tolerance: of a map's cells, relative to the largest.
        lower: the same graph in the half precisions that it was verified for, each with its limits.
    """

    graph: Backend
    own: bool
    tolerance: float
    map_tolerance: float
    lower: Mapping[LowerName, tuple[Backend, LowerTolerance]] = field(default_factory=dict)


def choose_golden(
    fitted: Patchcore, images: Sequence[Image], labelled: Sequence[Sample], *, seen: bool = False
) -> list[Choice]:
    """Images that span the scores, with the scores of float32 torch, rising.

    The least, the middle and the most anomalous of the good images; and the middle one of some labelled defects, or
    where there are none the most anomalous of synthetic ones.

    Where the bank has seen the good images, synthetic defects that score above all of them. In such images many patches
    lie at the coreset's radius, and rounding decides which is the worst: no device could be held to that.

    Args:
        fitted: the run's model.
        images: good images, HxWx3 uint8 BGR of the model's size.
        labelled: images with and without defects.
        seen: the bank holds patches of the good images.
    """
    some = some_of(images, _CANDIDATES)
    made = _scored(
        fitted,
        [
            defect.image
            for defect in make_defects(
                some, ceil(_CANDIDATES / len(some)), cell=patch_cell(fitted), hidden=fitted.hidden
            )
        ],
    )
    good = _scored(fitted, images)
    chosen: list[Choice] = [(*one, "good") for one in _spanning(good)]
    if seen:
        clear = [one for one in made if one[1] > _CLEAR * good[-1][1]]
        chosen = [(*one, "synthetic") for one in _spanning(clear or made[-1:])]
    real = [sample.image for sample in labelled if sample.defective and not sample.seen][:_CANDIDATES]
    if real:
        found = _scored(fitted, real)
        chosen.append((*found[len(found) // 2], "defect"))
    elif not seen:
        chosen.append((*made[-1], "synthetic"))
    return sorted(chosen, key=lambda one: one[1])


def write_golden(folder: Path, chosen: Sequence[Choice], expectation: Expectation) -> tuple[GoldenImage, ...]:
    """Write ``golden/<place>.png`` into a bundle folder, lossless and of the model's size.

    Only images that the graph itself, here, scores well within the tolerance; all where there are none.
    """
    answers = [_answer(expectation, one[0]) for one in chosen]
    own = [score for score, _ in answers]
    deviations = [abs(score - one[1]) / max(abs(one[1]), 1e-12) for score, one in zip(own, chosen, strict=True)]
    steady = [place for place, off in enumerate(deviations) if expectation.own or off <= expectation.tolerance / 2]
    golden = []
    for number, place in enumerate(steady or range(len(chosen))):
        image, torch_score, origin = chosen[place]
        expected = own[place] if expectation.own else torch_score
        file = f"golden/{number}.png"
        write_image(folder / file, image)
        golden.append(
            GoldenImage(
                file=file,
                pred_score=expected,
                tolerance=expectation.tolerance,
                torch_score=torch_score,
                origin=origin,
                anomaly_map=answers[place][1],
                lower={
                    name: _lower_tolerance(image, expected, answers[place][1], *given)
                    for name, given in expectation.lower.items()
                },
            )
        )
    return tuple(golden)


def _lower_tolerance(
    image: Image, expected: float, kept: GoldenMap | None, graph: Backend, limits: LowerTolerance
) -> LowerTolerance:
    """The limits; twice what is seen here where that is more, as another machine adds in another order."""
    scores, maps = graph.infer(image[None])
    off = abs(float(scores[0]) - expected) / max(abs(expected), 1e-12)
    map_off = 0.0 if kept is None else deviation(maps[0, 0], kept)
    return LowerTolerance(score=min(0.5, max(limits.score, 2 * off)), map=min(0.5, max(limits.map, 2 * map_off)))


def _answer(expectation: Expectation, image: Image) -> tuple[float, GoldenMap | None]:
    """The graph's own score and map; no map where it is all zero, of which nothing can be a share."""
    scores, maps = expectation.graph.infer(image[None])
    usable = bool(np.isfinite(maps[0, 0]).all() and maps[0, 0].max() > 0)
    return float(scores[0]), golden_map(maps[0, 0], expectation.map_tolerance) if usable else None


def _spanning(scored: Sequence[tuple[Image, float]]) -> list[tuple[Image, float]]:
    """The least, the middle and the most anomalous."""
    return evenly_chosen(scored, _SPAN)


def _scored(fitted: Patchcore, images: Sequence[Image]) -> list[tuple[Image, float]]:
    """Images with their raw scores in float32 torch, least anomalous first."""
    scored = [(image, float(fitted(torch.from_numpy(image)[None]).pred_score[0])) for image in images]
    return sorted(scored, key=lambda one: one[1])
