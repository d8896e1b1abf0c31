"""Images from a list, CSV or Parquet, here or behind a URL.

path     image file, relative to the list's folder (or to the one above, as VisA's lists have it); also as ``image``
label    ``good`` (or ``OK``, ``normal`` …, see ``good_names``), or the name of a defect; good when empty
split    ``train``, ``validation`` or ``test``; when empty, good images train and defective ones test
batch    lot, day, camera …; also as ``group``
mask     defect mask, likewise; a file, or a folder of this image's masks

The names of the columns may be in capitals, and between those of a CSV commas, semicolons or tabs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.listing import LeftOut, Why
from patchcore_edge_runtime.path_text import path_text

from ..datamodule import DataModule
from ..dataset import ImageItem
from ..good_names import GOOD, sounds_good
from ..split import hold_out
from ..splits import split_name
from .remote import data_path, is_url, network_notes, same_place, url_of
from .rows import SPLITS, GoodLabels, default_split, good_labels
from .stored_path import StoredPath
from .table import ENDINGS, Table, read_table, sounds_like_label

__all__ = ["ImageList", "is_list", "listed_images"]

_SHOWN = 4


def is_list(path: Path) -> bool:
    """Whether a path or URL names a list."""
    return path.suffix.lower() in ENDINGS and path.is_file()


class ImageList(DataModule):
    """The images that a list names; those that are not there are left out, and counted.

    Args:
        file: UTF-8 CSV with a header, or Parquet; a path or a URL.
        val_split_ratio: share of the training images that is held out where none are named for validation, in [0, 1).
        seed: decides which.
        good: labels of good parts; the usual ones are known.

    Raises:
        DataError: the file is no such list, names no file that is there, or one twice with different words; or no
            label is known to be of good parts, several are, or a column sounds like labels and is not called so.
        ConfigError: the share is not in [0, 1), or a package that reads such a list is not installed.
    """

    def __init__(
        self, file: str | Path, *, val_split_ratio: float = 0.0, seed: int = 0, good: Sequence[str] = ()
    ) -> None:
        file = data_path(file)
        table = read_table(file)
        _require_one_object(file, table.rows)
        _require_labels(file, table)
        good_ones = _good_labels(file, table.rows, good)
        notes = [*network_notes(file), *good_ones.notes, *_label_notes(file, table, good_ones)]
        places, missing, left_out = _Places(file, table.rows), [], []
        splits: dict[str, list[ImageItem]] = {name: [] for name in SPLITS}
        named = _Named(file)
        for where, row in table.numbered():
            split, item, gone = _item(f"{file}, {where}", places, row, good_ones)
            if named.again(where, split, item):
                continue
            missing += [(where, path) for path in gone]
            if item.label is None:
                left_out.append(LeftOut(item.path, Why.UNCLEAR))
            elif item.path not in gone:
                splits[split].append(item)
        if missing and not any(splits.values()):
            raise DataError(
                f"{file}, {missing[0][0]}: there is no file {path_text(missing[0][1])}, nor any other that the list "
                "names; write paths that are relative to the list's folder or to the one above."
            )
        notes += named.notes()
        if table.unused:
            notes.append(f"{path_text(file)}: columns that are not used: {', '.join(table.unused)}.")
        train, validation = splits["train"], splits["validation"]
        if not validation:
            train, validation = hold_out(train, val_split_ratio, seed)
        left_out += [LeftOut(path, Why.MISSING) for _, path in missing]
        super().__init__(file, train, validation, splits["test"], left_out=left_out, notes=notes)


def listed_images(file: Path) -> tuple[list[Path], list[LeftOut]]:
    """All images that a list names, whatever it says of them, and those that are not there.

    Raises:
        DataError: the file is no such list.
        ConfigError: a package that reads such a list is not installed.
    """
    table = read_table(file)
    places = _Places(file, table.rows)
    named = [places(f"{file}, {where}", row.get("path") or "") for where, row in table.numbered()]
    there = list(dict.fromkeys(path for path in named if path.is_file()))
    return there, [LeftOut(path, Why.MISSING) for path in named if not path.is_file()]


class _Named:
    """Which images were named already, and how.

    Args:
        file: the list.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._first: dict[str, tuple[str, str, ImageItem]] = {}
        self._again = 0

    def again(self, where: str, split: str, item: ImageItem) -> bool:
        """Whether a row says what an earlier one said.

        Raises:
            DataError: it names the same image and says something else of it.
        """
        first, earlier_split, earlier = self._first.setdefault(os.path.normpath(item.path), (where, split, item))
        if earlier is item:
            return False
        if (split, item.label, item.mask, item.batch) != (earlier_split, earlier.label, earlier.mask, earlier.batch):
            raise DataError(
                f"{self._file}, {where}: {path_text(item.path.name)} is named in {first} already, with other words; "
                "name each image once (several masks of one go into a folder)."
            )
        self._again += 1
        return True

    def notes(self) -> Iterator[str]:
        """What a person has to know of it."""
        if self._again:
            rows = "1 row says" if self._again == 1 else f"{self._again} rows say"
            yield f"{path_text(self._file)}: {rows} what an earlier one said; each image counts once."


def _require_labels(file: Path, table: Table) -> None:
    """See that no column says which parts are good in vain."""
    alike = [column for column in table.unused if sounds_like_label(column)]
    if alike and not table.has_labels:
        raise DataError(
            f"{file} has a column {alike[0]} and none called label; call it label if it says which parts are good "
            "(good, OK, 0 …), or take it out, for all its images would be taken as good parts."
        )


def _label_notes(file: Path, table: Table, good: GoodLabels) -> Iterator[str]:
    unlabelled = sum(not row.get("label") for row in table.rows)
    if not table.has_labels:
        yield f"{path_text(file)} has no column of labels: all its images are taken as good parts."
    elif unlabelled and good.names:
        images = "1 image without a label is" if unlabelled == 1 else f"{unlabelled} images without a label are"
        yield f"{path_text(file)}: {images} taken as good parts."


def _good_labels(file: Path, rows: Sequence[dict[str, str]], chosen: Sequence[str]) -> GoodLabels:
    labels = {row["label"] for row in rows if row.get("label")}
    # Rows without a label are of good parts; one that is to train on and has another label is refused by its line.
    told = any(not row.get("label") or split_name(row.get("split") or "") == "train" for row in rows)
    if told and not chosen and not any(map(sounds_good, labels)):
        return GoodLabels()
    return good_labels(path_text(file), f"The column label of {file}", labels, chosen)


class _Places:
    """What the paths of a list mean.

    Relative ones are below the list's folder, or here below the one above, as VisA's lists have it. A list that lies
    behind a URL may name URLs of its own machine; one that lies here names no URLs, so that it reaches no network.
    """

    def __init__(self, file: Path, rows: Sequence[dict[str, str]]) -> None:
        self._url = url_of(file)
        here, above = file.parent, file.parent.parent
        first = rows[0].get("path", "") if rows else ""
        self._root = above if not _found(here, first).exists() and _found(above, first).is_file() else here

    def __call__(self, where: str, text: str) -> Path:
        """The path of a cell.

        Raises:
            DataError: it names what the list may not name.
        """
        if not is_url(text) and self._url is None:
            return _found(self._root, text)
        if self._url is None:
            raise DataError(
                f"{where}: a list that lies here names no URLs, as {text} is one; put it beside its images and give "
                "its own URL."
            )
        if is_url(text):
            if not same_place(text, self._url):
                raise DataError(f"{where}: {text} is on another machine than the list, and is not asked for.")
            return data_path(text)
        parts = text.replace("\\", "/").split("/")
        if not parts[0] or ".." in parts:
            raise DataError(f"{where}: {text!r} leads out of the list's folder; name what lies in it.")
        base = self._url.partition("?")[0].rpartition("/")[0]
        return data_path("/".join([base, *parts]))


def _found(root: Path, text: str) -> Path:
    """A path as it is written, or as Windows writes it where there is none such."""
    path = root / text
    if isinstance(path, StoredPath) or "\\" not in text or path.exists():
        return path
    return root / text.replace("\\", "/")


def _require_one_object(file: Path, rows: Sequence[dict[str, str]]) -> None:
    objects = sorted({row["object"] for row in rows if row.get("object")})
    if len(objects) > 1:
        raise DataError(
            f"{file} lists {len(objects)} objects ({', '.join(objects[:_SHOWN])} …), and a model is of one; give the "
            "folder of one object, or a list of it alone."
        )


def _item(where: str, places: _Places, row: dict[str, str], good: GoodLabels) -> tuple[str, ImageItem, list[Path]]:
    """The split of a row, its image, whose label is None where there is no telling, and which files are not there."""
    path = places(where, row.get("path") or "")
    mask = places(where, row["mask"]) if row.get("mask") else None
    gone = [] if path.is_file() else [path]
    if mask is not None and not mask.is_file() and not mask.is_dir():
        gone.append(mask)
        mask = None
    label = good.meant(row.get("label") or "")
    split = default_split(row.get("split") or "", label or GOOD)
    if split not in SPLITS or (split == "train" and label not in (GOOD, None)):
        raise DataError(
            f"{where}: the split {split!r} of an image labelled {label!r}; good images may be "
            "train, validation or test, defective ones validation or test."
        )
    return split, ImageItem(path, label, mask, row.get("batch") or ""), gone
