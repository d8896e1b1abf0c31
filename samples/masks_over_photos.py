"""Each defective photo with its mask's outline, as it is read: ``python samples/masks_over_photos.py DATA OUT``."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from patchcore_edge.data import FolderRules, open_whole
from patchcore_edge.data.mask_pixels import Masks
from patchcore_edge_runtime.images.files import read_image, write_image
from patchcore_edge_runtime.images.preprocess import as_bgr8

_GREEN = (80, 220, 60)


def outlined(masks: Masks, photo: Path, mask: Path) -> np.ndarray:
    """The upright photo, HxWx3 uint8 BGR, with a green line around what the mask marks."""
    picture = as_bgr8(read_image(photo)).copy()
    marked = masks.read(photo, mask).marked.astype(np.uint8)
    contours, _ = cv2.findContours(marked, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(picture, contours, -1, _GREEN, max(1, min(picture.shape[:2]) // 200), cv2.LINE_AA)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    words = parser.parse_args()
    data = open_whole(words.data, FolderRules())
    items = [item for item in (*data.validation, *data.test) if item.mask is not None and item.is_defective]
    masks = Masks((item.path, item.mask) for item in items if item.mask is not None)
    masks.require_fit()
    for number, item in enumerate(items):
        assert item.mask is not None
        path = words.output / f"{number:04d}_{item.label}_{item.path.stem}.png"
        write_image(path, outlined(masks, item.path, item.mask))
        print(f"{path}: {item.path} with {item.mask}")


if __name__ == "__main__":
    main()
