"""What can be predicted on: a datamodule's test images, a folder, a list, shards, one file."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.listing import describe_left_out, list_images

from .datamodule import DataModule, require_images
from .dataset import ImageItem
from .lists import data_path, images_in_shards, is_list, is_shards, listed_images

__all__ = ["prediction_items"]

_log = logging.getLogger(__name__)


def prediction_items(
    source: DataModule | str | Path, *, recursive: bool = True, leave_out: Collection[Path] = ()
) -> list[ImageItem]:
    """The images to score; what is left out of a folder is logged.

    Args:
        source: a datamodule gives its test images; a folder all images in it and below, a list all that it names,
            shards all that are in them; an image file itself.
        recursive: look into subfolders too.
        leave_out: folders that the caller writes to.

    Raises:
        DataError: there are none.
    """
    if isinstance(source, DataModule):
        if not source.test:
            raise DataError(f"{source.root} has no test images; put them into test/good and test/<defect>.")
        return source.test
    path = data_path(source)
    if is_list(path) or is_shards(path):
        return _named_items(path)
    if path.is_file():
        return [ImageItem(path, None)]
    if not path.is_dir():
        raise DataError(f"There is no file or folder {path}; give an image or a folder of images.")
    listing = list_images(path, recursive=recursive, leave_out=leave_out)
    require_images(listing)
    if left_out := describe_left_out(listing.left_out, path):
        _log.warning("%s", left_out)
    return [ImageItem(file, None) for file in listing.files]


def _named_items(path: Path) -> list[ImageItem]:
    """Of a list or of shards."""
    found, lost = (listed_images if is_list(path) else images_in_shards)(path)
    left_out = describe_left_out(lost, path)
    if not found:
        raise DataError(f"{path} has no images that can be used. {left_out}".strip())
    if left_out:
        _log.warning("%s", left_out)
    return [ImageItem(file, None) for file in found]
