"""Images from a list: CSV with a header; ``path`` is needed, the other columns are taken where they are there.

path     image file, relative to the list's folder
label    ``good``, or the name of a defect; good when empty
split    ``train``, ``validation`` or ``test``; when empty, good images train and defective ones test
batch    lot, day, camera …; also as ``group``
mask     defect mask, relative to the list's folder
"""

from __future__ import annotations

import csv
from pathlib import Path

from patchcore_edge_runtime.errors import DataError

from .datamodule import DataModule
from .dataset import ImageItem
from .split import hold_out

__all__ = ["ImageList"]

_COLUMNS = frozenset({"path", "label", "split", "batch", "group", "mask"})
_SPLITS = ("train", "validation", "test")


class ImageList(DataModule):
    """The images that a CSV file names.

    Args:
        file: UTF-8 CSV with a header.
        val_split_ratio: share of the training images that is held out where none are named for validation, in [0, 1).
        seed: decides which.

    Raises:
        DataError: the file is no such list, or names a file that is not there.
        ConfigError: the share is not in [0, 1).
    """

    def __init__(self, file: str | Path, *, val_split_ratio: float = 0.0, seed: int = 0) -> None:
        file = Path(file)
        splits: dict[str, list[ImageItem]] = {name: [] for name in _SPLITS}
        for number, row in enumerate(_rows(file), 2):
            split, item = _item(file, number, row)
            splits[split].append(item)
        train, validation = splits["train"], splits["validation"]
        if not validation:
            train, validation = hold_out(train, val_split_ratio, seed)
        super().__init__(file, train, validation, splits["test"])


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as CSV ({error}); write it as UTF-8 with a header.") from None
    columns = set(reader.fieldnames or ())
    if "path" not in columns or columns - _COLUMNS:
        raise DataError(
            f"{file} has the columns {', '.join(sorted(map(str, columns))) or 'none'}; it needs path, and may have "
            "label, split, batch and mask."
        )
    return rows


def _item(file: Path, number: int, row: dict[str, str]) -> tuple[str, ImageItem]:
    path, mask = file.parent / (row["path"] or ""), row.get("mask")
    for one in (path, *([file.parent / mask] if mask else [])):
        if not one.is_file():
            raise DataError(f"{file}, line {number}: there is no file {one}.")
    label = row.get("label") or "good"
    split = row.get("split") or ("train" if label == "good" else "test")
    if split not in _SPLITS or (split == "train" and label != "good"):
        raise DataError(
            f"{file}, line {number}: the split {split!r} of an image labelled {label!r}; good images may be "
            "train, validation or test, defective ones validation or test."
        )
    batch = row.get("batch") or row.get("group") or ""
    return split, ImageItem(path, label, file.parent / mask if mask else None, batch)
