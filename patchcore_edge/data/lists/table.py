"""A list's rows: CSV with a header, or Parquet; ``path`` is needed, other columns are taken where they are there."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.path_text import path_text

from ..digests import file_bytes

__all__ = ["ENDINGS", "Table", "meaning", "read_table"]

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


@dataclass(frozen=True)
class Table:
    """A list as it was read.

    Attributes:
        rows: cells by our names of the columns.
        unused: columns that are not used.
        where: what a row's number is called: ``line``, from 2 on, or ``row``, from 1 on.
    """

    rows: list[dict[str, str]]
    unused: list[str]
    where: str

    def numbered(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Each row after what a person finds it by."""
        first = 2 if self.where == "line" else 1
        return ((f"{self.where} {number}", row) for number, row in enumerate(self.rows, first))


def meaning(column: str) -> str:
    """Our name for what people call a column; empty where it is none of ours."""
    plain = column.strip().lower().replace(" ", "_")
    return next((name for name, known in _COLUMNS.items() if plain in known), "")


def read_table(file: Path) -> Table:
    """The rows of a list.

    Raises:
        DataError: it cannot be read, or has no column of paths, or two.
        ConfigError: pyarrow, which reads Parquet, is not installed.
    """
    columns, rows, where = (_read_parquet if file.suffix.lower() in _PARQUET else _read_csv)(file)
    meant = [meaning(column) for column in columns]
    unused = [column for column, name in zip(columns, meant, strict=True) if not name]
    named = [{name: cell for name, cell in zip(meant, row, strict=False) if name} for row in rows]
    return Table(named, unused, where)


def _require_columns(file: Path, columns: Sequence[str]) -> None:
    known = [name for name in map(meaning, columns) if name]
    if "path" not in known or len(set(known)) < len(known):
        raise DataError(
            f"{file} has the columns {', '.join(columns) or 'none'}; it needs path, and may have label, split, batch "
            "and mask, each once."
        )


def _read_csv(file: Path) -> tuple[list[str], Iterator[list[str]], str]:
    try:
        text = file_bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} cannot be read as CSV ({error}); write it as UTF-8 with a header.") from None
    header = text.partition("\n")[0]
    # Spreadsheets write what their country's comma leaves over.
    delimiter = max(_DELIMITERS, key=header.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        columns, *lines = [line for line in reader if line] or [[]]
    except csv.Error as error:
        raise DataError(f"{file} cannot be read as CSV ({error}); write it as UTF-8 with a header.") from None
    _require_columns(file, columns)
    return columns, ([cell.strip() for cell in line] for line in lines), "line"


def _read_parquet(file: Path) -> tuple[list[str], Iterator[list[str]], str]:
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
    return [*used, *unused], (list(row) for row in zip(*cells.values(), strict=True)), "row"


def _texts(arrow: Any, column: Any) -> list[str]:
    if arrow.types.is_floating(column.type):
        # A column of whole numbers with gaps, as data frames write it; others are no labels, and refused here.
        column = column.cast(arrow.int64())
    if arrow.types.is_binary(column.type) or arrow.types.is_large_binary(column.type):
        raise arrow.ArrowTypeError("a column of bytes, which names no files")
    return [(cell or "").strip() for cell in column.cast(arrow.string()).to_pylist()]
