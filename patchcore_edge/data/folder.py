"""Plain folders of images, and the choice between the layouts."""

from __future__ import annotations

from pathlib import Path

from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.images.files import image_files

from .datamodule import DataModule, good_images
from .dataset import ImageItem
from .list_file import ImageList
from .masks import with_masks
from .mvtec import MVTec
from .split import hold_out

__all__ = ["Folder", "open_data"]


class Folder(DataModule):
    """Good images in one folder: enough to fit on, or to calibrate with. Test images are optional.

    Args:
        root: the folder of good images, or what the other folders are relative to.
        normal_dir: good images to fit on, relative to ``root``; ``root`` itself when absent.
        abnormal_dir: defective test images, directly or in one folder per kind of defect.
        normal_test_dir: good test images.
        mask_dir: defect masks named ``<name>.png`` or ``<name>_mask.png``, in the same folders as the defective images.
        val_split_ratio: share of the good images that is held out for validation, in [0, 1).
        seed: decides which.
        group_by: pattern that finds an image's batch in its path below its folder; subfolders are batches when None.

    Raises:
        DataError: a folder is missing, holds no image, or a subfolder that is not of good parts.
        ConfigError: the share is not in [0, 1), or the pattern does not fit.
    """

    def __init__(
        self,
        root: str | Path,
        normal_dir: str | Path | None = None,
        abnormal_dir: str | Path | None = None,
        normal_test_dir: str | Path | None = None,
        mask_dir: str | Path | None = None,
        *,
        val_split_ratio: float = 0.0,
        seed: int = 0,
        group_by: str | None = None,
    ) -> None:
        root = Path(root)
        train, validation = hold_out(good_images(root / (normal_dir or ""), group_by), val_split_ratio, seed)
        masks = None if mask_dir is None else root / mask_dir
        if masks is not None and not masks.is_dir():
            raise DataError(f"There is no folder {masks}; give the folder of the defect masks.")
        test = [] if normal_test_dir is None else good_images(root / normal_test_dir, group_by)
        if abnormal_dir is not None:
            test += _defective(root / abnormal_dir, masks)
        super().__init__(root, train, validation, test)


def open_data(
    path: str | Path | DataModule, val_split_ratio: float = 0.0, seed: int = 0, group_by: str | None = None
) -> DataModule:
    """The data under ``path``: the MVTec AD layout where it has a ``train`` folder, else a folder of good images.

    Args:
        path: a folder, or a list of files (see ``ImageList``); a datamodule is taken as it is.
        val_split_ratio: share of the good images that is held out where there is no ``validation/good``, in [0, 1).
        seed: decides which.
        group_by: pattern that finds an image's batch in its path below the folder of good images.

    Raises:
        DataError: there is no such folder, no image in it, or a subfolder that is not of good parts.
        ConfigError: the share is not in [0, 1), or the pattern does not fit.
    """
    if isinstance(path, DataModule):
        return path
    path = Path(path)
    if path.is_file() and path.suffix.lower() == ".csv":
        if group_by is not None:
            raise ConfigError("A list names the batches in a column; leave --group-by out.")
        return ImageList(path, val_split_ratio=val_split_ratio, seed=seed)
    if not path.is_dir():
        raise DataError(f"There is no folder {path}; give a folder of images of good parts.")
    if (path / "train").is_dir():
        return MVTec(path, "", val_split_ratio=val_split_ratio, seed=seed, group_by=group_by)
    return Folder(path, val_split_ratio=val_split_ratio, seed=seed, group_by=group_by)


def _defective(folder: Path, masks: Path | None) -> list[ImageItem]:
    files = image_files(folder, recursive=True) if folder.is_dir() else []
    if not files:
        raise DataError(f"{folder} holds no images of defective parts; give the folder they are in.")
    items = [ImageItem(path, "defective") for path in files]
    return items if masks is None else with_masks(items, folder, [masks])[0]
