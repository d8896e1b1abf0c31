"""The MVTec AD layout.

train/good/*.png
validation/good/*.png                        optional; as in MVTec LOCO and AD 2
test/good/*.png, test/<defect>/*.png
ground_truth/<defect>/<name>_mask.png        optional
"""

from __future__ import annotations

from pathlib import Path

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.sources import image_files

from .datamodule import DataModule, good_images
from .dataset import ImageItem

__all__ = ["MVTec"]


class MVTec(DataModule):
    """One category in the MVTec AD layout.

    Args:
        root: folder that holds the categories.
        category: name of the folder inside ``root``; "" when ``root`` is the category itself.

    Raises:
        DataError: the layout is not there.
    """

    def __init__(self, root: str | Path = "./datasets/MVTecAD", category: str = "bottle") -> None:
        folder = Path(root) / category
        if not (folder / "train" / "good").is_dir():
            raise DataError(
                f"{folder} has no train/good; lay the data out as MVTec AD does "
                "(https://www.mvtec.com/company/research/datasets/mvtec-ad) or give a folder of good images."
            )
        held_out = folder / "validation" / "good"
        super().__init__(
            folder,
            train=good_images(folder / "train" / "good"),
            validation=good_images(held_out) if held_out.is_dir() else [],
            test=_test_items(folder),
        )


def _test_items(folder: Path) -> list[ImageItem]:
    test = folder / "test"
    kinds = sorted(path for path in test.iterdir() if path.is_dir()) if test.is_dir() else []
    return [
        ImageItem(path, kind.name, _mask_of(folder, kind.name, path)) for kind in kinds for path in image_files(kind)
    ]


def _mask_of(folder: Path, kind: str, image: Path) -> Path | None:
    mask = folder / "ground_truth" / kind / f"{image.stem}_mask.png"
    return mask if mask.is_file() else None
