"""Messages that wait on disk for a receiver who is away."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from ..errors import MAKE_ROOM, ConfigError, cannot_write

__all__ = ["Spool"]

_DELETE_OLDEST = "DELETE FROM spool WHERE id IN (SELECT id FROM spool ORDER BY id LIMIT ?)"


class Spool:
    """A first-in, first-out queue of texts that survives a restart; safe to use from several threads.

    Args:
        path: of its file; in memory when None.
        limit: texts it holds; beyond it the oldest goes.
    """

    def __init__(self, path: Path | None, limit: int) -> None:
        self._path, self._limit = path, limit
        self._lock = threading.Lock()
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path or ":memory:", check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute("CREATE TABLE IF NOT EXISTS spool (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT)")
            self._count = int(self._database.execute("SELECT count(*) FROM spool").fetchone()[0])
        except (OSError, sqlite3.Error) as error:
            raise self._refused(error) from None

    def __len__(self) -> int:
        return self._count

    def append(self, text: str) -> int:
        """Add a text; returns how many of the oldest had to go for it."""
        try:
            with self._lock:
                lost = max(0, self._count + 1 - self._limit)
                with self._database:
                    self._database.execute("INSERT INTO spool (text) VALUES (?)", [text])
                    self._database.execute(_DELETE_OLDEST, [lost])
                self._count += 1 - lost
        except sqlite3.Error as error:
            raise self._refused(error) from None
        return lost

    def oldest(self, count: int) -> list[tuple[int, str]]:
        """Up to ``count`` texts with their numbers, the oldest first."""
        with self._lock:
            return self._database.execute("SELECT id, text FROM spool ORDER BY id LIMIT ?", [count]).fetchall()

    def remove(self, number: int) -> None:
        """Take a text out; nothing happens when it has gone already."""
        with self._lock:
            with self._database:
                gone = self._database.execute("DELETE FROM spool WHERE id = ?", [number]).rowcount
            self._count -= gone

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _refused(self, error: Exception) -> ConfigError:
        place = self._path or "The spool"
        return cannot_write(place, error, MAKE_ROOM)
