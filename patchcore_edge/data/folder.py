"""A plain folder of good images, and the choice between the layouts."""

from __future__ import annotations

from pathlib import Path

from patchcore_edge_runtime.errors import DataError

from .datamodule import DataModule, good_images
from .mvtec import MVTec

__all__ = ["Folder", "open_data"]


class Folder(DataModule):
    """Good images, all in one folder: enough to fit on, or to calibrate with.

    Raises:
        DataError: there is no such folder, or no image in it.
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__(Path(root), train=good_images(Path(root)))


def open_data(path: str | Path) -> DataModule:
    """The data under ``path``: the MVTec AD layout where it has a ``train`` folder, else a folder of good images.

    Raises:
        DataError: there is no such folder, or no image in it.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"There is no folder {path}; give a folder of images of good parts.")
    return MVTec(path, "") if (path / "train").is_dir() else Folder(path)
