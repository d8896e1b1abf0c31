"""Messages that wait on disk for a receiver who is away."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ..database import Database

__all__ = ["Spool"]

_SCHEMA = "CREATE TABLE IF NOT EXISTS spool (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT);"
# Texts of one file; another one, begun when the first was damaged or taken away, counts from one again.
_NUMBERS = 1 << 40
_DELETE_OLDEST = "DELETE FROM spool WHERE id IN (SELECT id FROM spool ORDER BY id LIMIT ?)"


class Spool:
    """A first-in, first-out queue of texts that survives a restart; safe to use from several threads.

    Args:
        path: of its file; in memory when None.
        limit: texts it holds; beyond it the oldest goes.
    """

    def __init__(self, path: Path | None, limit: int) -> None:
        self._limit, self._count, self._file = limit, 0, -1
        self._database = Database(path, _SCHEMA, self._count_texts)

    def __len__(self) -> int:
        return self._count

    def append(self, text: str) -> int:
        """Add a text; returns how many of the oldest had to go for it."""

        with self._database.alone:
            # The file behind it may be another one by now: of that the count is known when it was opened.
            self._database.run(lambda _: None)
            lost = max(0, self._count + 1 - self._limit)

            def add(database: sqlite3.Connection) -> None:
                database.execute("INSERT INTO spool (text) VALUES (?)", [text])
                database.execute(_DELETE_OLDEST, [lost])

            self._database.run(add, keep=True)
            self._count += 1 - lost
        return lost

    def oldest(self, count: int) -> list[tuple[int, str]]:
        """Up to ``count`` texts with their numbers, the oldest first."""

        def select(database: sqlite3.Connection) -> list[tuple[int, str]]:
            found = database.execute("SELECT id, text FROM spool ORDER BY id LIMIT ?", [count]).fetchall()
            return [(number + self._file * _NUMBERS, text) for number, text in found]

        return self._database.run(select)

    def remove(self, number: int) -> None:
        """Take a text out; nothing happens when it has gone already, or the file that it was in."""

        def delete(database: sqlite3.Connection) -> int:
            file, row = divmod(number, _NUMBERS)
            return database.execute("DELETE FROM spool WHERE id = ? AND ? = ?", [row, file, self._file]).rowcount

        with self._database.alone:
            self._count -= self._database.run(delete)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _count_texts(self, database: sqlite3.Connection) -> None:
        self._file += 1
        self._count = int(database.execute("SELECT count(*) FROM spool").fetchone()[0])
