"""A SQLite file that a line relies on: it outlives damage, removal, and the locks of other programs."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from .errors import MAKE_ROOM, ConfigError, cannot_write
from .journal import Journal, JournalState
from .system import is_at

__all__ = ["Database", "PlaceBusyError", "require_database"]

_LOG = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")

_HEAD = b"SQLite format 3\0"
_SUFFIXES = {"", ".db", ".db3", ".spool", ".sqlite", ".sqlite3"}
"""Of files that are set aside where they are damaged; another kind of file was never a database."""
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# SQLite's own waiting for another program's lock; whoever has time calls again.
_BUSY_SECONDS = 1.0
_LOOKED_THROUGH = 256 << 20
"""Bytes of a database up to which all of it is looked through when it is opened: about a second's work."""
_CHECKPOINT_EVERY, _MOST_KEPT = 256, 10_000
"""What is written is kept until it is in the file itself, which it is brought to after so many; while a reader keeps it
from getting there, so many are kept."""


class PlaceBusyError(ConfigError):
    """A place is held by somebody who will let go of it: the same may be written again later."""


class Database:
    """A database file, made when absent; safe to use from several threads.

    A file that is damaged, now or later, is set aside under another name, which the log tells, and a new one is begun.
    A file that somebody deletes, moves or replaces is noticed before the next use, and a new one is begun. So is a
    journal that another program has written over, and what it held is written again, as far as it was to be kept.

    Args:
        path: of the file; in memory when None.
        schema: SQL that makes what is not there yet.
        on_open: called with each new connection, which another file may lie behind.

    Attributes:
        alone: held during ``run``; for what has to go together with it.

    Raises:
        ConfigError: its place refuses, or has a file of something else. Another program's lock or a full disk does not:
            that may pass.
    """

    def __init__(
        self, path: Path | None, schema: str, on_open: Callable[[sqlite3.Connection], None] = lambda _: None
    ) -> None:
        self._path, self._schema, self._on_open = path, schema, on_open
        self._connection: sqlite3.Connection | None = None
        self._identity: os.stat_result | None = None
        self._journal = None if path is None else Journal(path)
        self._kept: deque[Callable[[sqlite3.Connection], Any]] = deque(maxlen=_MOST_KEPT)
        self._to_repeat = False
        self.alone = threading.RLock()
        try:
            self.run(lambda _: None)
        except PlaceBusyError as error:
            _LOG.warning("%s The line starts, and its records wait.", error)
        except _DiskFullError as error:
            _LOG.warning("%s The line starts without.", error)

    def run(self, work: Callable[[sqlite3.Connection], _Answer], *, keep: bool = False) -> _Answer:
        """What ``work`` makes of the connection, in one transaction; it may be called a second time, on a new file.

        Args:
            work: to be done.
            keep: do it again where another program has undone it.

        Raises:
            PlaceBusyError: another program holds the database for longer than a second; nothing was changed.
            ConfigError: its place refuses.
        """
        with self.alone:
            try:
                return self._try(work, keep)
            except sqlite3.Error as error:
                if _code(error) not in _DAMAGED or self._path is None:
                    raise self._refused(error) from None
                self._set_aside(self._path, error)
            except OSError as error:
                raise cannot_write(self._path, error, MAKE_ROOM) from None
            try:
                return self._try(work, keep)
            except (OSError, sqlite3.Error) as error:
                raise self._refused(error) from None

    def close(self) -> None:
        """Close the file; may be called more than once."""
        with self.alone:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _try(self, work: Callable[[sqlite3.Connection], _Answer], keep: bool) -> _Answer:
        connection = self._current()
        with connection:
            answer = work(connection)
        if keep:
            self._keep(work, connection)
        if self._journal is not None:
            self._journal.note()
        return answer

    def _keep(self, work: Callable[[sqlite3.Connection], Any], connection: sqlite3.Connection) -> None:
        self._kept.append(work)
        if len(self._kept) % _CHECKPOINT_EVERY == 0 and _bring_in(connection):
            self._kept.clear()

    def _current(self) -> sqlite3.Connection:
        if self._connection is not None and self._was_taken_away():
            _LOG.warning("%s was deleted, moved or replaced; a new one is begun there.", self._path)
            with suppress(sqlite3.Error):
                # Into the file that was moved, which is still open here: its journal stays behind.
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._kept.clear()
            self.close()
        if self._connection is not None and self._journal is not None:
            self._look_at(self._journal, self._connection)
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _look_at(self, journal: Journal, connection: sqlite3.Connection) -> None:
        """Close the file where somebody has written over its journal, or taken it away."""
        state = journal.state()
        if state is JournalState.SOUND:
            return
        if state is JournalState.OVERWRITTEN:
            # Or it would go into the file when that is closed.
            os.truncate(journal.path, 0)
        self._to_repeat = state is JournalState.OVERWRITTEN or not _bring_in(connection)
        then = f"the last {len(self._kept)} writes are repeated" if self._to_repeat else "nothing in it is lost"
        _LOG.warning("The journal of %s was %s by another program; %s.", self._path, state.value, then)
        self.close()

    def _connect(self) -> sqlite3.Connection:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path or ":memory:", timeout=_BUSY_SECONDS, check_same_thread=False)
        try:
            # Readers do not block the writer, and a power failure costs the last rows at most, not the file.
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(self._schema)
            self._require_whole()
            self._repeat(connection)
            self._on_open(connection)
            self._identity = self._path.stat() if self._path is not None else None
            if self._journal is not None:
                self._journal.note()
        except BaseException:
            connection.close()
            raise
        return connection

    def _repeat(self, connection: sqlite3.Connection) -> None:
        if self._to_repeat:
            with connection:
                for work in self._kept:
                    work(connection)
            self._to_repeat = False

    def _require_whole(self) -> None:
        """Raise as for damage where a page is wrong: new rows would go in, and none of all could be read again."""
        if self._path is None or self._path.stat().st_size > _LOOKED_THROUGH:
            return
        # By a connection of its own: the writer's is not to remember pages that are damaged on the disk later.
        with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS)) as reader:
            found = reader.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            damage = sqlite3.DatabaseError(found)
            damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damage

    def _was_taken_away(self) -> bool:
        return self._path is not None and self._identity is not None and not is_at(self._path, self._identity)

    def _set_aside(self, path: Path, error: sqlite3.Error) -> None:
        self.close()
        require_database(path)
        if not self._to_repeat:
            self._kept.clear()
        moment = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
        names = (f"{path.name}.damaged-{moment}{more}" for more in ("", *(f"-{n}" for n in range(2, 1000))))
        aside = next(other for other in map(path.with_name, names) if not other.exists())
        try:
            for end in ("", "-wal", "-shm"):
                part = path.with_name(path.name + end)
                if part.exists():
                    part.replace(aside.with_name(aside.name + end))
        except OSError as refusal:
            raise cannot_write(path, f"it is damaged: {error}", f"move it away ({refusal.strerror})") from None
        _LOG.warning("%s is damaged (%s); it is set aside as %s, and a new one is begun.", path, error, aside.name)

    def _refused(self, error: Exception) -> ConfigError:
        place = self._path or "The spool"
        if _code(error) in _BUSY:
            return PlaceBusyError(f"{place} is locked by another program; close that one.")
        if _code(error) == sqlite3.SQLITE_ERROR:  # its tables are of something else
            return cannot_write(place, error)
        no_file = (
            _code(error) == sqlite3.SQLITE_CANTOPEN and self._path is not None and _takes_no_file(self._path.parent)
        )
        if _code(error) == sqlite3.SQLITE_FULL or no_file:
            return cannot_write(place, "the disk is full", MAKE_ROOM, _DiskFullError)
        return cannot_write(place, error, MAKE_ROOM)


def require_database(path: Path) -> None:
    """Raise ``ConfigError`` where a file is there that is no database, nor called like one that was damaged."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_HEAD))
    except OSError:
        return
    if head and head != _HEAD and path.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"{path} is there and is no database; give another place, such as one that ends in .db.")


def _bring_in(connection: sqlite3.Connection) -> bool:
    """Whether all of the journal is in the file now; not while a reader needs it, or the disk is full."""
    with suppress(sqlite3.Error):
        _, frames, done = connection.execute("PRAGMA wal_checkpoint").fetchone()
        return bool(frames == done)
    return False


def _takes_no_file(folder: Path) -> bool:
    """Whether a disk has no room for one more file, as when it has no inode left: a database needs two beside it."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return False
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)


class _DiskFullError(ConfigError):
    pass


def _code(error: Exception) -> int:
    """SQLite's primary result code; 0 where there is none."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
