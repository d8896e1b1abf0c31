"""What graphs are compared on: good images, and realistic defects made on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from patchcore_edge.data.synthetic_defects import make_defects
from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.images.preprocess import Image

__all__ = ["Sample", "gate_samples", "patch_cell", "some_of"]

_T = TypeVar("_T")
_SYNTHETIC = 144
"""Defects at least: a recall of 80 % is then known to 3 points, one of 50 % to 4."""
_PER_IMAGE = 3
_SEEN = 16
_GATE_SEED = 1
"""Other defects than those that the search was planned on."""


@dataclass(frozen=True)
class Sample:
    """An image to compare on: HxWx3 uint8 BGR of the model's size.

    Attributes:
        defective: as labelled; None where nobody looked.
        synthetic: the defect was made by this program.
        seen: the memory bank holds patches of this image, or of the one that the defect was made on.
    """

    image: Image
    defective: bool | None = None
    synthetic: bool = False
    seen: bool = False


def gate_samples(
    images: Sequence[Image], *, cell: int = 8, hidden: NDArray[np.bool_] | None = None, seen: bool = False
) -> list[Sample]:
    """Good images and synthetic defects on them: three on each of some images, and more where images are few.

    Args:
        images: good images, HxWx3 uint8 BGR of the model's size.
        cell: side of a cell of the patch grid, pixels.
        hidden: HxW bool, where nothing counts.
        seen: the memory bank holds patches of the images. Then a few of them do, with a defect each: what their
            scores are is decided by the coreset's radius, and tells nothing of how good and defective parts stay apart.
    """
    if seen:
        some = some_of(images, _SEEN)
        made = make_defects(some, 1, _GATE_SEED, cell=cell, hidden=hidden)
        return [Sample(image, seen=True) for image in some] + [
            Sample(defect.image, synthetic=True, seen=True) for defect in made
        ]
    some = some_of(images, _SYNTHETIC // _PER_IMAGE)
    each = max(_PER_IMAGE, ceil(_SYNTHETIC / max(1, len(some))))
    made = make_defects(some, each, _GATE_SEED, cell=cell, hidden=hidden)
    return [Sample(image) for image in images] + [Sample(defect.image, synthetic=True) for defect in made]


def some_of(images: Sequence[_T], count: int) -> list[_T]:
    """``count`` of the images, from first to last, or all if there are fewer."""
    return list(images[:: max(1, ceil(len(images) / count))])


def patch_cell(fitted: Patchcore) -> int:
    """Side of a cell of the patch grid, pixels."""
    height, width = fitted.pre_processor.spec.input_size
    rows, columns = fitted.model.patch_grid((height, width))
    return max(1, min(height // rows, width // columns))
