"""A list's rows: CSV with a header, or Parquet; ``path`` is needed, other columns are taken where they are there."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.path_text import path_text

from ..digests import file_bytes

__all__ = ["ENDINGS", "Table", "meaning", "read_table", "sounds_like_label"]

ENDINGS = (".csv", ".tsv", ".parquet", ".pq")
_PARQUET = frozenset({".parquet", ".pq"})
_COLUMNS = {
    "path": ("path", "image", "image_path", "img", "file", "filename", "file_name", "filepath", "file_path"),
    "label": ("label", "class", "kind", "defect"),
    "split": ("split", "set", "subset", "phase"),
    "batch": ("batch", "group", "lot"),
    "mask": ("mask", "mask_path", "mask_file", "ground_truth", "gt"),
    "object": ("object",),
}
_DELIMITERS = ",;\t"
_SOUNDS_LIKE_LABEL = re.compile(
    r"(is|has)?(anomal|abnormal|defect|fault|fail|reject|scrap|bad|ng|nok|good|ok|normal|pass).*"
    r"|(label|class|categor|target|verdict|quality).*|y"
)
_SAID_DELIMITER = re.compile(r'"?sep=([,;\t])"?\r?\n', re.IGNORECASE)
"""The first line by which spreadsheets tell each other what stands between cells."""

_Row = tuple[int, list[str]]


@dataclass(frozen=True)
class Table:
    """A list as it was read.

    Attributes:
        rows: cells by our names of the columns, of rows that are not empty.
        places: what a person finds each row by: ``line 2`` or ``row 1``.
        unused: columns that have a name and are not used.
        has_labels: whether there is a column of labels.
    """

    rows: list[dict[str, str]]
    places: list[str]
    unused: list[str]
    has_labels: bool

    def numbered(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Each row after what a person finds it by."""
        return zip(self.places, self.rows, strict=True)


def meaning(column: str) -> str:
    """Our name for what people call a column; empty where it is none of ours."""
    plain = column.strip().lower().replace(" ", "_")
    return next((name for name, known in _COLUMNS.items() if plain in known), "")


def read_table(file: Path) -> Table:
    """The rows of a list.

    Raises:
        DataError: it cannot be read, has no column of paths, or two, names nothing, or has a row of too many cells or
            a column that sounds like labels and is not called so.
        ConfigError: pyarrow, which reads Parquet, is not installed.
    """
    columns, rows, where = (_read_parquet if file.suffix.lower() in _PARQUET else _read_csv)(file)
    meant = [meaning(column) for column in columns]
    filled = [(number, row) for number, row in rows if any(row)]
    if not filled:
        raise DataError(f"{file} names no images; give it a row for each.")
    for number, row in filled:
        if any(row[len(columns) :]):
            raise DataError(
                f"{file}, {where} {number} has {len(row)} cells and the header {len(columns)}; put a cell that has "
                "the sign between cells in it into quotes."
            )
    unused = [column for column, name in zip(columns, meant, strict=True) if column and not name]
    named = [{name: cell for name, cell in zip(meant, row, strict=False) if name} for _, row in filled]
    return Table(named, [f"{where} {number}" for number, _ in filled], unused, "label" in meant)


def sounds_like_label(column: str) -> bool:
    """Whether people call a column so that says which parts are good: ``is_anomaly``, ``Class ID``, ``OK/NG`` …"""
    return _SOUNDS_LIKE_LABEL.fullmatch(re.sub(r"[\W_]+", "", column.lower())) is not None


def _require_columns(file: Path, columns: Sequence[str]) -> None:
    known = [name for name in map(meaning, columns) if name]
    if "path" not in known or len(set(known)) < len(known):
        raise DataError(
            f"{file} has the columns {', '.join(columns) or 'none'}; it needs path, and may have label, split, batch "
            "and mask, each once."
        )


def _read_csv(file: Path) -> tuple[list[str], Iterator[_Row], str]:
    text = _csv_text(file)
    said = _SAID_DELIMITER.match(text)
    header, before = text[said.end() if said else 0 :].partition("\n")[0], 1 if said else 0
    # Spreadsheets write what their country's comma leaves over.
    delimiter = said[1] if said else max(_DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text[said.end() if said else 0 :], newline=""), delimiter=delimiter, strict=True)
    try:
        (_, columns), *lines = list(_rows(reader, before)) or [(0, [])]
    except csv.Error as error:
        raise DataError(
            f"{file} cannot be read as CSV (line {reader.line_num + before}: {error}); see whether a quote is not "
            "closed before that line."
        ) from None
    _require_columns(file, columns)
    return columns, iter(lines), "line"


def _csv_text(file: Path) -> str:
    data = file_bytes(file)
    # "Unicode text" is what some spreadsheets call UTF-16.
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} cannot be read as CSV ({error}); write it as UTF-8 with a header.") from None


def _rows(reader: Any, before: int) -> Iterator[_Row]:
    """Each row that has cells, with the line that it begins at."""
    first = before + 1
    for row in reader:
        if row:
            yield first, [cell.strip() for cell in row]
        first = before + reader.line_num + 1


def _read_parquet(file: Path) -> tuple[list[str], Iterator[_Row], str]:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise ConfigError(f"{path_text(file)} is Parquet; install patchcore-edge[parquet], or write CSV.") from None
    try:
        opened = parquet.ParquetFile(io.BytesIO(file_bytes(file)))
        columns = list(opened.schema_arrow.names)
        _require_columns(file, columns)
        used = [column for column in columns if meaning(column)]
        table = opened.read(columns=used)
        cells = {column: _texts(arrow, table.column(column)) for column in used}
    except (arrow.ArrowException, OSError) as error:
        told = str(error).partition("\n")[0]
        raise DataError(
            f"{file} cannot be read as Parquet ({told}); its columns of paths, labels, splits, batches and masks "
            "have to be text or whole numbers."
        ) from None
    unused = [column for column in columns if column not in cells]
    rows = (list(row) for row in zip(*cells.values(), strict=True))
    return [*used, *unused], enumerate(rows, 1), "row"


def _texts(arrow: Any, column: Any) -> list[str]:
    if arrow.types.is_floating(column.type):
        # A column of whole numbers with gaps, as data frames write it; others are no labels, and refused here.
        column = column.cast(arrow.int64())
    if arrow.types.is_binary(column.type) or arrow.types.is_large_binary(column.type):
        raise arrow.ArrowTypeError("a column of bytes, which names no files")
    return [(cell or "").strip() for cell in column.cast(arrow.string()).to_pylist()]
