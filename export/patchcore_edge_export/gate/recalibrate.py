"""Thresholds for a graph whose scores are not torch's: INT8 and compressed weights shift them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.errors import ParityError
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.inspection.backend import Backend
from patchcore_edge_runtime.verdict import Thresholds

from ..progress import Shown
from .deviation import TorchModel, raw

__all__ = ["Pairs", "recalibrated", "score_pairs"]

_NEIGHBORS = 9
_SAME = 1e-3


@dataclass(frozen=True)
class Pairs:
    """Raw scores and map maxima of the same images, ``[n]`` each, from float32 torch and from the graph."""

    torch_scores: NDArray[np.float64]
    graph_scores: NDArray[np.float64]
    torch_maxima: NDArray[np.float64]
    graph_maxima: NDArray[np.float64]


def score_pairs(fitted: TorchModel, graph: Backend, images: Sequence[Image], remedy: str) -> Pairs:
    """Score images both ways.

    Args:
        fitted, graph: what is compared; they score raw.
        images: HxWx3 uint8 BGR of the model's size.
        remedy: a sentence that says what to try where the graph gives no numbers.

    Raises:
        ParityError: the graph gives a score that is no number.
    """
    rows = []
    for image in Shown(images, "8 bits, 3 of 3: thresholds for its own scores"):
        wanted = raw(fitted, image)
        scores, maps = graph.infer(image[None])
        rows.append((wanted.score, scores[0], wanted.map.max(), maps[0].max()))
    table = np.array(rows, np.float64).reshape(-1, 4)
    if not np.isfinite(table).all():
        raise ParityError(f"In 8 bits the graph's scores are not finite numbers. {remedy}")
    return Pairs(*table.T)


def recalibrated(thresholds: Thresholds, held_out: Pairs, recorded: Sequence[float], defects: Pairs) -> Thresholds:
    """The thresholds of a run, found again on the graph's own scores.

    Where the calibration images are held out and their scores span a threshold, it goes to the same rank among the
    graph's scores that it has among torch's: the conformal quantile of the graph itself. Elsewhere (thresholds from
    cross-fitting, from defects, or set by hand) it is scaled as the scores nearest to it are.

    Args:
        thresholds: of the run.
        held_out: the calibration images.
        recorded: their scores when the run was calibrated; other scores today mean that the bank knows them. Empty
            where they are but some of those that set the thresholds.
        defects: images with synthetic defects.
    """
    known = np.asarray(recorded, np.float64)
    same = len(known) == len(held_out.torch_scores) and bool(
        np.all(np.abs(held_out.torch_scores - known) <= _SAME * np.abs(known))
    )
    scores = (held_out.torch_scores, held_out.graph_scores, defects.torch_scores, defects.graph_scores)
    maxima = (held_out.torch_maxima, held_out.graph_maxima, defects.torch_maxima, defects.graph_maxima)
    image = _moved(thresholds.image, *scores, by_rank=same)
    warn = None if thresholds.warn is None else min(_moved(thresholds.warn, *scores, by_rank=same), image * (1 - _SAME))
    return Thresholds(image=image, pixel=_moved(thresholds.pixel, *maxima, by_rank=same), warn=warn)


def _moved(
    value: float,
    good: NDArray[np.float64],
    good_graph: NDArray[np.float64],
    bad: NDArray[np.float64],
    bad_graph: NDArray[np.float64],
    *,
    by_rank: bool,
) -> float:
    """``value`` on torch's scale → on the graph's."""
    ordered, ordered_graph = np.sort(good), np.sort(good_graph)
    # A threshold lies a margin above the score that sets it; the margin is kept, relative.
    place = int(np.searchsorted(ordered, value, side="right")) - 1
    if by_rank and place >= 0 and (place < len(ordered) - 1 or value <= ordered[-1] * (1 + 2 * _SAME)):
        return float(ordered_graph[place] * value / ordered[place])
    all_torch, all_graph = np.concatenate([good, bad]), np.concatenate([good_graph, bad_graph])
    nearest = np.argsort(np.abs(np.log(np.maximum(all_torch, 1e-12) / value)), kind="stable")[:_NEIGHBORS]
    return float(value * np.median(all_graph[nearest] / np.maximum(all_torch[nearest], 1e-12)))
