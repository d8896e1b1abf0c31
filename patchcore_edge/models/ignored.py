"""What a model does not look at in its input: the parts of a frame in which nothing counts.

Patches of which no pixel counts are in no bank and have no score. Which they are has to be the same for every frame,
as the exported graph leaves them out itself.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.bundle.recipe import Augmentation, AugmentOptions
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.images.geometry import Masks
from patchcore_edge_runtime.images.preprocess import PreprocessSpec
from patchcore_edge_runtime.inspection.ignore_mask import IgnoreMask

from ..data.augmentation import SHIFT

__all__ = ["counted_rows", "ignored_cells"]

_Bits = NDArray[np.bool_]


def ignored_cells(masks: Masks, spec: PreprocessSpec, cells: tuple[int, int]) -> _Bits | None:
    """``[rows, columns]`` of a model's input in so many cells: those that a mask covers as a whole; None without any.

    Args:
        masks: polygons in fractions of the frame.
        spec: the model's preprocessing.
        cells: rows and columns: of the patches, or of the input's pixels.

    Raises:
        ConfigError: nothing is left to look at; or a region of interest is cut out of frames of unknown size, and where
            the masks lie in it is not known.
    """
    if not masks:
        return None
    if spec.roi is not None and spec.frame_size is None:
        raise ConfigError(
            "Ignore masks are fractions of the frame and the region of interest is in pixels, which go together where "
            "all photos have one size; give photos of one size, or leave one of the two out."
        )
    # Without a region fractions of the frame are fractions of whatever it is resized to.
    size = spec.frame_size or (spec.height, spec.width)
    box = spec.seen_box(spec.roi or (0, 0, size[1], size[0]))
    found = IgnoreMask(masks).map_mask(size, box, cells)
    if found.all():
        raise ConfigError("The ignore masks leave nothing to look at; make them smaller.")
    return found if found.any() else None


def counted_rows(ignored: _Bits, augment: AugmentOptions | None) -> _Bits:
    """``[r]`` which of an image's rows in a pool may become part of the bank: its own, then those of its copies.

    In a copy that is moved or mirrored, what is ignored lies elsewhere; wherever it may lie is left out.

    Args:
        ignored: ``[rows, columns]`` patches.
        augment: what the copies vary; there are none without.
    """
    own = ~ignored.ravel()
    if augment is None:
        return own
    spread = ignored.copy()
    if Augmentation.FLIP_H in augment.kinds:
        spread |= spread[:, ::-1]
    if Augmentation.FLIP_V in augment.kinds:
        spread |= spread[::-1]
    # Turned by its few degrees a place at the border moves about as far as it is shifted.
    moves = sum(kind in augment.kinds for kind in (Augmentation.SHIFT, Augmentation.TURN))
    if moves:
        reach = [int(np.ceil(SHIFT * moves * side)) for side in spread.shape]
        kernel = np.ones([2 * cells + 1 for cells in reach], np.uint8)
        spread = cv2.dilate(spread.astype(np.uint8), kernel).astype(np.bool_)
    return np.concatenate([own, *[~spread.ravel()] * augment.made])
