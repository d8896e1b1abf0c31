"""A picture in 64 bits that stay as they are when it is saved again, brightened or shot with a little noise."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.images.preprocess import Image

from .batch import Batch
from .dataset import ImageDataset

__all__ = ["PictureHashes", "perceptual_hash"]


def perceptual_hash(image: Image) -> NDArray[np.bool_]:
    """pHash (Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"), by ImageHash.

    Args:
        image: HxWx3 uint8 BGR.

    Returns:
        ``[64]``: which of the lowest frequencies are above their median.
    """
    # Imported where it is used, as few commands need it.
    import imagehash
    from PIL import Image as Pillow

    found = imagehash.phash(Pillow.fromarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)))
    return np.asarray(found.hash, np.bool_).ravel()


class PictureHashes:
    """Hashes of files, taken as their pixels come by."""

    def __init__(self) -> None:
        self._known: dict[Path, NDArray[np.bool_]] = {}

    def watch(self, batch: Batch) -> None:
        """Hash the images of a batch of uint8 pixels."""
        for path, image in zip(batch.image_path, batch.image, strict=True):
            self._known[path] = perceptual_hash(np.asarray(image.cpu().numpy(), np.uint8))

    def of(self, dataset: ImageDataset) -> list[NDArray[np.bool_]]:
        """One for each image of a dataset; what has not come by is decoded."""
        paths = [item.path for item in dataset.items]
        return [
            self._known[path] if path in self._known else perceptual_hash(dataset.image(place))
            for place, path in enumerate(paths)
        ]
