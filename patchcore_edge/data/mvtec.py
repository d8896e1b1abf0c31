"""The MVTec AD layout.

<category>/train/good/*.png
<category>/validation/good/*.png                        optional; as in MVTec LOCO and AD 2
<category>/validation/<defect>/*.png                    optional; labelled defects set the thresholds of the highest F1
<category>/validation/ground_truth/<defect>/<name>_mask.png   optional; as in AD 2's public test set
<category>/test/good/*.png, test/<defect>/*.png
<category>/ground_truth/<defect>/<name>_mask.png        optional
"""

from __future__ import annotations

from pathlib import Path

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.files import image_files

from .datamodule import DataModule, good_images
from .dataset import ImageItem
from .masks import mask_folders, with_masks
from .split import hold_out

__all__ = ["CATEGORIES", "MVTec", "test_items"]

CATEGORIES = (
    "bottle",
    "cable",
    "capsule",
    "carpet",
    "grid",
    "hazelnut",
    "leather",
    "metal_nut",
    "pill",
    "screw",
    "tile",
    "toothbrush",
    "transistor",
    "wood",
    "zipper",
)
"""The fifteen categories of MVTec AD."""

_SOURCE = "https://www.mvtec.com/company/research/datasets/mvtec-ad"


class MVTec(DataModule):
    """One category in the MVTec AD layout, of MVTec AD itself or of anyone's own parts.

    Args:
        root: folder that holds the categories.
        category: name of the folder inside ``root``; "" when ``root`` is the category itself.
        val_split_ratio: share of ``train/good`` that is held out for validation where there is no
            ``validation/good``, in [0, 1).
        seed: decides which.
        group_by: pattern that finds a good image's batch in its path below its folder; subfolders of ``good`` are
            batches when None.

    Raises:
        DataError: the layout is not there, or a folder of good parts has one that is not.
        ConfigError: the share is not in [0, 1), or the pattern does not fit.
    """

    def __init__(
        self,
        root: str | Path = "./datasets/MVTecAD",
        category: str = "bottle",
        *,
        val_split_ratio: float = 0.0,
        seed: int = 0,
        group_by: str | None = None,
    ) -> None:
        folder = Path(root) / category
        if not (folder / "train" / "good").is_dir():
            raise DataError(_missing(Path(root), category))
        train, held_out = good_images(folder / "train" / "good", group_by), folder / "validation" / "good"
        if held_out.is_dir():
            masks = folder / "validation" / "ground_truth"
            validation = good_images(held_out, group_by) + _items(folder / "validation", masks)
        else:
            train, validation = hold_out(train, val_split_ratio, seed)
        super().__init__(folder, train, validation, test_items(folder, group_by))


def test_items(folder: Path, group_by: str | None = None) -> list[ImageItem]:  # noqa: PT028 - it is no test
    """The images of ``test/good`` and ``test/<defect>`` with masks and batches; none where there is no such folder."""
    good = folder / "test" / "good"
    return (good_images(good, group_by) if good.is_dir() and any(good.iterdir()) else []) + _items(
        folder / "test", folder / "ground_truth"
    )


def _missing(root: Path, category: str) -> str:
    layout = "train/good, test/good, test/<defect> and ground_truth/<defect>/<name>_mask.png"
    if category in CATEGORIES:
        return (
            f"MVTec AD's {category} is not in {root}; download MVTec AD from {_SOURCE} "
            f"and unpack it so that {root / category} holds {layout}."
        )
    if category and not (root / category).is_dir():
        there = sorted(path.parent.parent.name for path in root.glob("*/train/good"))
        return (
            f"{root} has no category {category!r}; it has {', '.join(there) or 'none'}, "
            f"and MVTec AD ({_SOURCE}) has {', '.join(CATEGORIES)}."
        )
    return (
        f"{root / category} has no train/good; lay the data out as MVTec AD does ({_SOURCE}), with {layout}, "
        "or give a folder of good images."
    )


def _items(split: Path, masks: Path) -> list[ImageItem]:
    kinds = sorted(path for path in split.iterdir() if path.is_dir() and path != masks) if split.is_dir() else []
    items = [ImageItem(path, kind.name) for kind in kinds if kind.name != "good" for path in image_files(kind)]
    return with_masks(items, split, [masks] if masks.is_dir() else mask_folders(split))[0]
