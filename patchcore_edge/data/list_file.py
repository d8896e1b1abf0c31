"""Images from a list: CSV with a header; ``path`` is needed, the other columns are taken where they are there.

path     image file, relative to the list's folder
label    ``good`` (or ``OK``, ``normal`` …, see ``good_names``), or the name of a defect; good when empty
split    ``train``, ``validation`` or ``test``; when empty, good images train and defective ones test
batch    lot, day, camera …; also as ``group``
mask     defect mask, relative to the list's folder
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from patchcore_edge_runtime.errors import DataError

from .datamodule import DataModule
from .dataset import ImageItem
from .good_names import GOOD, good_among, sounds_good
from .split import hold_out
from .splits import split_name

__all__ = ["ImageList"]

_COLUMNS = frozenset({"path", "label", "split", "batch", "group", "mask"})
_SPLITS = ("train", "validation", "test")


class ImageList(DataModule):
    """The images that a CSV file names.

    Args:
        file: UTF-8 CSV with a header.
        val_split_ratio: share of the training images that is held out where none are named for validation, in [0, 1).
        seed: decides which.
        good: labels of good parts; the usual ones are known.

    Raises:
        DataError: the file is no such list, names a file that is not there, or no label is known to be of good parts
            or several are.
        ConfigError: the share is not in [0, 1).
    """

    def __init__(
        self, file: str | Path, *, val_split_ratio: float = 0.0, seed: int = 0, good: Sequence[str] = ()
    ) -> None:
        file = Path(file)
        splits: dict[str, list[ImageItem]] = {name: [] for name in _SPLITS}
        rows = _rows(file)
        of_good, notes = _good_labels(file, rows, good)
        for number, row in enumerate(rows, 2):
            split, item = _item(file, number, row, of_good)
            splits[split].append(item)
        train, validation = splits["train"], splits["validation"]
        if not validation:
            train, validation = hold_out(train, val_split_ratio, seed)
        super().__init__(file, train, validation, splits["test"], notes=notes)


def _good_labels(file: Path, rows: Sequence[dict[str, str]], chosen: Sequence[str]) -> tuple[list[str], list[str]]:
    """The labels of good parts, and what to say of them."""
    labels = sorted({row["label"] for row in rows if row.get("label")})
    some_empty = any(not row.get("label") for row in rows)
    if not labels or (some_empty and not chosen and not any(map(sounds_good, labels))):
        return [], []
    found = good_among(labels, chosen, f"The column label of {file}", "leave it empty where parts are good")
    spelled = " and ".join(found)
    notes = [] if found == [GOOD] else [f"{file}: parts labelled {spelled} are taken as the good parts."]
    return found, notes


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


def _item(file: Path, number: int, row: dict[str, str], of_good: Sequence[str]) -> tuple[str, ImageItem]:
    path, mask = file.parent / (row["path"] or ""), row.get("mask")
    for one in (path, *([file.parent / mask] if mask else [])):
        if not one.is_file():
            raise DataError(f"{file}, line {number}: there is no file {one}.")
    label = row.get("label") or GOOD
    label = GOOD if label in of_good else label
    split = split_name(row.get("split") or ("train" if label == GOOD else "test"))
    if split not in _SPLITS or (split == "train" and label != GOOD):
        raise DataError(
            f"{file}, line {number}: the split {split!r} of an image labelled {label!r}; good images may be "
            "train, validation or test, defective ones validation or test."
        )
    batch = row.get("batch") or row.get("group") or ""
    return split, ImageItem(path, label, file.parent / mask if mask else None, batch)
