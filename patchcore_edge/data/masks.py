"""Where the defect mask of an image is."""

from __future__ import annotations

from pathlib import Path

__all__ = ["mask_of"]

_ENDINGS = ("_mask.png", ".png")


def mask_of(image: Path, masks: Path | None) -> Path | None:
    """The mask's file, named ``<name>_mask.png`` or ``<name>.png``; None where there is none.

    Args:
        image: path of the image below the folder of all defective images, such as ``scratch/003.png``.
        masks: folder of the masks, laid out as the images are.
    """
    if masks is None:
        return None
    candidates = (masks / image.parent / f"{image.stem}{ending}" for ending in _ENDINGS)
    return next((path for path in candidates if path.is_file()), None)
