"""What can be predicted on: a datamodule's test images, a folder, a list, shards, one file."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.images.listing import describe_left_out, list_images
from patchcore_edge_runtime.images.preprocess import PreprocessSpec

from .datamodule import DataModule, require_images
from .dataset import ImageDataset, ImageItem
from .lists import data_path, images_in_shards, is_list, is_shards, listed_images

__all__ = ["prediction_dataset", "prediction_items"]

_log = logging.getLogger(__name__)


def prediction_dataset(
    offered: Sequence[DataModule | ImageDataset | str | Path | None],
    spec: PreprocessSpec,
    *,
    recursive: bool = True,
    output: Path | None = None,
) -> ImageDataset:
    """The one that is offered, at a model's size; a dataset as it is.

    Args:
        offered: all but one None.
        spec: the model's preprocessing.
        recursive: as for ``prediction_items``.
        output: folder that the caller writes to.

    Raises:
        DataError: there are no images.
        ConfigError: none is offered, or several.
    """
    given = [one for one in offered if one is not None]
    if len(given) != 1:
        raise ConfigError("Give one thing to predict on: a datamodule, a dataset, a folder or an image.")
    chosen = given[0]
    if isinstance(chosen, ImageDataset):
        return chosen
    own = () if output is None else (Path(output),)
    return ImageDataset(prediction_items(chosen, recursive=recursive, leave_out=own), spec)


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
