"""Results in a database that every tool can query."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import PositiveInt

from ..database import Database, require_database
from ..display.record import Record
from .base import SinkContext, SinkSettings

__all__ = ["SqliteSettings", "SqliteSink"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS results (
    id INTEGER PRIMARY KEY,
    time REAL NOT NULL,
    frame INTEGER NOT NULL,
    name TEXT NOT NULL,
    verdict TEXT NOT NULL,
    pred_score REAL,
    model_id TEXT NOT NULL,
    manifest TEXT NOT NULL,
    record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS results_time ON results (time);
"""
_KEYS = ("time", "frame", "name", "verdict", "pred_score", "model_id", "manifest")
_INSERT = f"INSERT INTO results ({', '.join(_KEYS)}, record) VALUES ({'?, ' * len(_KEYS)}?)"  # noqa: S608 - our own words
# Databases of earlier versions; their rows name no manifest.
_ADD_MANIFEST = "ALTER TABLE results ADD COLUMN manifest TEXT NOT NULL DEFAULT ''"
_DELETE = "DELETE FROM results WHERE id <= (SELECT max(id) FROM results) - ?"
# The oldest rows go in batches.
_PRUNE_EVERY = 1000


class SqliteSettings(SinkSettings):
    """``[sinks.sqlite]``: the file, and how many of the newest rows it keeps.

    Attributes:
        path: database file.
        max_rows: newest rows to keep.
    """

    path: Path
    max_rows: PositiveInt = 1_000_000


class SqliteSink:
    """A row per frame in the table ``results``; ``record`` holds the JSON that the JSONL sink would write.

    Args:
        path: database file, made when absent and gone on with otherwise.
        max_rows: the oldest rows beyond it are deleted, at most 1,000 late.
    """

    Settings: ClassVar[type[SinkSettings]] = SqliteSettings
    pictures: ClassVar[bool] = False

    def __init__(self, path: Path, max_rows: int = 1_000_000) -> None:
        self._max_rows, self._since_prune = max_rows, 0
        self._database = Database(path, _SCHEMA, on_open=_bring_up_to_date)

    @classmethod
    def from_settings(cls, settings: SqliteSettings, context: SinkContext) -> SqliteSink:
        """Open the database that the settings name."""
        return cls(context.folder / settings.path, settings.max_rows)

    @classmethod
    def check(cls, _: SqliteSettings, places: Mapping[str, Path]) -> list[str]:
        """Nothing to note; raises ``ConfigError`` where the file is there and of something else."""
        for path in places.values():
            require_database(path)
        return []

    def write(self, record: Record) -> None:
        """Insert and commit one row."""
        facts = record.to_dict()
        values = [*(facts[key] for key in _KEYS), json.dumps(facts, ensure_ascii=False, allow_nan=False)]
        prune = self._since_prune + 1 >= min(_PRUNE_EVERY, self._max_rows)

        def insert(database: sqlite3.Connection) -> None:
            database.execute(_INSERT, values)
            if prune:
                database.execute(_DELETE, [self._max_rows])

        self._database.run(insert, keep=True)
        self._since_prune = 0 if prune else self._since_prune + 1

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _bring_up_to_date(database: sqlite3.Connection) -> None:
    if "manifest" not in {column[1] for column in database.execute("PRAGMA table_info(results)")}:
        database.execute(_ADD_MANIFEST)
