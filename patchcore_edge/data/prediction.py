"""What can be predicted on: a datamodule's test images, a folder, one file."""

from __future__ import annotations

from pathlib import Path

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.files import IMAGE_SUFFIXES, image_files

from .datamodule import DataModule
from .dataset import ImageItem

__all__ = ["prediction_items"]


def prediction_items(source: DataModule | str | Path) -> list[ImageItem]:
    """The images to score.

    Args:
        source: a datamodule gives its test images; a folder all images in it and below; a file itself.

    Raises:
        DataError: there are none.
    """
    if isinstance(source, DataModule):
        if not source.test:
            raise DataError(f"{source.root} has no test images; put them into test/good and test/<defect>.")
        return source.test
    path = Path(source)
    if path.is_file():
        return [ImageItem(path, None)]
    if not path.is_dir():
        raise DataError(f"There is no file or folder {path}; give an image or a folder of images.")
    files = image_files(path, recursive=True)
    if not files:
        raise DataError(f"{path} holds no images; it needs files ending in {', '.join(sorted(IMAGE_SUFFIXES))}.")
    return [ImageItem(file, None) for file in files]
