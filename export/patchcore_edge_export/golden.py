"""Golden images: a few inputs with the scores they must get, for any device and any language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from patchcore_edge.data.synthetic_defects import synthetic_defects
from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.inspector import CompiledGraph
from patchcore_edge_runtime.manifest import GoldenImage
from patchcore_edge_runtime.preprocess import Image
from patchcore_edge_runtime.sinks.images import write_image

from .parity import Sample

__all__ = ["OWN_TOLERANCE", "Expectation", "choose_golden", "write_golden"]

OWN_TOLERANCE = 2e-2
"""Allowed deviation from the graph's own score, relative: devices round INT8 features in their own ways."""

_GOOD = 3
_CANDIDATES = 16

Origin = Literal["good", "defect", "synthetic"]


@dataclass(frozen=True)
class Expectation:
    """What the golden scores are.

    Attributes:
        graph: as written, on this machine's CPU.
        batch: its static batch size.
        own: expect the graph's own scores and not those of float32 torch.
        tolerance: allowed deviation, relative.
    """

    graph: CompiledGraph
    batch: int
    own: bool
    tolerance: float


def choose_golden(
    fitted: Patchcore, images: Sequence[Image], labelled: Sequence[Sample]
) -> list[tuple[Image, float, Origin]]:
    """Images that span the scores, with the scores of float32 torch, rising.

    The least, the middle and the most anomalous of the good images; and the middle one of some labelled defects, or
    where there are none the most anomalous of synthetic ones.

    Args:
        fitted: the run's model.
        images: good images that the bank has not seen, HxWx3 uint8 BGR of the model's size.
        labelled: images with and without defects.
    """
    good = _scored(fitted, images)
    places = np.unique(np.linspace(0, len(good) - 1, _GOOD).round().astype(int))
    chosen: list[tuple[Image, float, Origin]] = [(*good[place], "good") for place in places]
    real = [sample.image for sample in labelled if sample.defective][:_CANDIDATES]
    if real:
        defects = _scored(fitted, real)
        chosen.append((*defects[len(defects) // 2], "defect"))
    else:
        some = list(images[:: max(1, len(images) // _CANDIDATES)])[:_CANDIDATES]
        chosen.append((*_scored(fitted, synthetic_defects(some))[-1], "synthetic"))
    return sorted(chosen, key=lambda one: one[1])


def write_golden(
    folder: Path, chosen: Sequence[tuple[Image, float, Origin]], expectation: Expectation
) -> tuple[GoldenImage, ...]:
    """Write ``golden/<place>.png`` into a bundle folder, lossless and of the model's size."""
    golden = []
    for place, (image, torch_score, origin) in enumerate(chosen):
        file = f"golden/{place}.png"
        write_image(folder / file, image)
        own = float(expectation.graph.infer(np.repeat(image[None], expectation.batch, axis=0))[0][0])
        golden.append(
            GoldenImage(
                file=file,
                pred_score=own if expectation.own else torch_score,
                tolerance=expectation.tolerance,
                torch_score=torch_score,
                origin=origin,
            )
        )
    return tuple(golden)


def _scored(fitted: Patchcore, images: Sequence[Image]) -> list[tuple[Image, float]]:
    """Images with their raw scores in float32 torch, least anomalous first."""
    scored = [(image, float(fitted(torch.from_numpy(image)[None]).pred_score[0])) for image in images]
    return sorted(scored, key=lambda one: one[1])
