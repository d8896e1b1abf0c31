"""Images from a list: CSV with a header; ``path`` is needed, the other columns are taken where they are there.

path     image file, relative to the list's folder (or to the one above, as VisA's lists have it); also as ``image``
label    ``good`` (or ``OK``, ``normal`` …, see ``good_names``), or the name of a defect; good when empty
split    ``train``, ``validation`` or ``test``; when empty, good images train and defective ones test
batch    lot, day, camera …; also as ``group``
mask     defect mask, likewise; a file, or a folder of this image's masks

The names of the columns may be in capitals, and between them commas, semicolons or tabs.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.path_text import path_text

from .datamodule import DataModule
from .dataset import ImageItem
from .good_names import GOOD, good_among, sounds_good
from .split import hold_out
from .splits import split_name

__all__ = ["ImageList"]

_COLUMNS = {
    "path": ("path", "image", "image_path", "img", "file", "filename", "file_name", "filepath", "file_path"),
    "label": ("label", "class", "kind", "defect"),
    "split": ("split", "set", "subset", "phase"),
    "batch": ("batch", "group", "lot"),
    "mask": ("mask", "mask_path", "mask_file", "ground_truth", "gt"),
    "object": ("object",),
}
_DELIMITERS = ",;\t"
_SHOWN = 4
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
        rows, unused = _read(file)
        _require_one_object(file, rows)
        of_good, notes = _good_labels(file, rows, good)
        root = _root(file, rows)
        for number, row in enumerate(rows, 2):
            split, item = _item(file, root, number, row, of_good)
            splits[split].append(item)
        if unused:
            notes.append(f"{path_text(file)}: columns that are not used: {', '.join(unused)}.")
        train, validation = splits["train"], splits["validation"]
        if not validation:
            train, validation = hold_out(train, val_split_ratio, seed)
        super().__init__(file, train, validation, splits["test"], notes=notes)


def _good_labels(file: Path, rows: Sequence[dict[str, str]], chosen: Sequence[str]) -> tuple[list[str], list[str]]:
    """The labels of good parts, and what to say of them."""
    labels = sorted({row["label"] for row in rows if row.get("label")})
    # Rows without a label are of good parts; one that is to train on and has another label is refused by its line.
    told = any(not row.get("label") or split_name(row.get("split") or "") == "train" for row in rows)
    if not labels or (told and not chosen and not any(map(sounds_good, labels))):
        return [], []
    found = good_among(labels, chosen, f"The column label of {file}", "leave it empty where parts are good")
    spelled = " and ".join(found)
    notes = [] if found == [GOOD] else [f"{file}: parts labelled {spelled} are taken as the good parts."]
    return found, notes


def _read(file: Path) -> tuple[list[dict[str, str]], list[str]]:
    """The rows by our names of the columns, and the columns that are not used."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as CSV ({error}); write it as UTF-8 with a header.") from None
    header = text.partition("\n")[0]
    # Spreadsheets write what their country's comma leaves over.
    delimiter = max(_DELIMITERS, key=header.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        columns, *lines = [line for line in reader if line] or [[]]
    except csv.Error as error:
        raise DataError(f"{file} cannot be read as CSV ({error}); write it as UTF-8 with a header.") from None
    meant = [_meaning(column) for column in columns]
    known = [one for one in meant if one]
    if "path" not in known or len(set(known)) < len(known):
        raise DataError(
            f"{file} has the columns {', '.join(columns) or 'none'}; it needs path, and may have label, split, batch "
            "and mask, each once."
        )
    rows = [{name: cell.strip() for name, cell in zip(meant, line, strict=False) if name} for line in lines]
    return rows, [column for column, name in zip(columns, meant, strict=True) if not name]


def _meaning(column: str) -> str:
    plain = column.strip().lower().replace(" ", "_")
    return next((name for name, known in _COLUMNS.items() if plain in known), "")


def _root(file: Path, rows: Sequence[dict[str, str]]) -> Path:
    """What the paths are relative to: the list's folder, or the one above, as VisA's lists have it."""
    here, above = file.parent, file.parent.parent
    first = rows[0].get("path", "") if rows else ""
    return above if not (here / first).exists() and (above / first).is_file() else here


def _require_one_object(file: Path, rows: Sequence[dict[str, str]]) -> None:
    objects = sorted({row["object"] for row in rows if row.get("object")})
    if len(objects) > 1:
        raise DataError(
            f"{file} lists {len(objects)} objects ({', '.join(objects[:_SHOWN])} …), and a model is of one; give the "
            "folder of one object, or a list of it alone."
        )


def _item(file: Path, root: Path, number: int, row: dict[str, str], of_good: Sequence[str]) -> tuple[str, ImageItem]:
    path, mask = root / (row.get("path") or ""), row.get("mask")
    for one in (path, *([root / mask] if mask else [])):
        if not one.is_file() and not (one is not path and one.is_dir()):
            raise DataError(f"{file}, line {number}: there is no file {one}.")
    label = row.get("label") or GOOD
    label = GOOD if label in of_good else label
    split = split_name(row.get("split") or ("train" if label == GOOD else "test"))
    if split not in _SPLITS or (split == "train" and label != GOOD):
        raise DataError(
            f"{file}, line {number}: the split {split!r} of an image labelled {label!r}; good images may be "
            "train, validation or test, defective ones validation or test."
        )
    return split, ImageItem(path, label, root / mask if mask else None, row.get("batch") or "")
