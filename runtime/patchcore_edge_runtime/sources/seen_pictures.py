"""Which pictures of a watched folder are done with, over a restart too."""

from __future__ import annotations

import logging
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..database import Database
from ..errors import ConfigError
from ..path_text import path_text
from ..place_lock import PlaceLock

__all__ = ["Done", "PictureFacts", "SeenPictures"]

_LOG = logging.getLogger(__name__)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS watched (folder BLOB NOT NULL, device TEXT NOT NULL, forgotten_up_to NOT NULL);
CREATE TABLE IF NOT EXISTS pictures (name BLOB PRIMARY KEY, facts TEXT NOT NULL, digest BLOB) WITHOUT ROWID;
"""
_PUT = "INSERT OR REPLACE INTO pictures VALUES (?, ?, ?)"
_DROP = "DELETE FROM pictures WHERE name = ?"
_Stamp = tuple[int, int]
"""Time of the last change in nanoseconds, and size in bytes."""
_Identity = tuple[int, int, int, int]


class PictureFacts(NamedTuple):
    """What the file system says of a picture; times in nanoseconds, size in bytes."""

    changed: int
    size: int
    device: int
    inode: int
    attributes_changed: int

    @classmethod
    def of(cls, path: Path) -> PictureFacts:
        """Raises ``OSError`` where there is no such file."""
        facts = path.stat()
        return cls(facts.st_mtime_ns, facts.st_size, facts.st_dev, facts.st_ino, facts.st_ctime_ns)

    @property
    def stamp(self) -> _Stamp:
        """What changes with every change of the picture, nearly."""
        return self.changed, self.size

    @property
    def identity(self) -> _Identity | None:
        """The same under whichever name; None where the file system does not number its files."""
        return (self.device, self.inode, self.changed, self.size) if self.inode else None


class Done(NamedTuple):
    """A picture that is not inspected any more, with its digest where it was read."""

    facts: PictureFacts
    digest: bytes | None = None


class SeenPictures:
    """The pictures of a folder that are done with, by path.

    Args:
        folder: that is watched.
        state: file that keeps them over a restart; in memory only when None. What is noted is written by ``save``.
        holder: how people call the line, for the lock of the file.
        limit: pictures that are no longer in the folder and are remembered all the same.

    Attributes:
        known: whether an earlier run left word of this folder; what it does not name has come since then.
        device: number of the disk or share that the folder is on.
        forgotten_up_to: time of change in nanoseconds up to which pictures may have been forgotten.

    Raises:
        ConfigError: the state file cannot be written, or another line has it.
    """

    def __init__(self, folder: Path, state: Path | None, holder: str, limit: int) -> None:
        self._folder, self._state, self._limit = folder, state, limit
        self._place = os.fsencode(folder.resolve())
        self._done: dict[str, Done] = {}
        self._identities: set[_Identity | None] = set()
        self._unsaved: set[str] = set()
        self._whole = True
        self._refused = False
        self.known = False
        self.device: int | None = None
        self.forgotten_up_to = -math.inf
        self._lock = PlaceLock(state, holder) if state is not None else None
        self._database: Database | None = None
        try:
            if state is not None:
                self._database = Database(state, _SCHEMA, self._begun_anew)
            self._load()
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._done)

    def __contains__(self, name: str) -> bool:
        return name in self._done

    def get(self, name: str) -> Done | None:
        """What is known of a picture; None when it is not done with."""
        return self._done.get(name)

    def has(self, identity: _Identity | None) -> bool:
        """Whether one of them is that very file, under whichever name."""
        return identity is not None and identity in self._identities

    def note(self, name: str, facts: PictureFacts, digest: bytes | None = None) -> None:
        """This picture is done with."""
        self._done[name] = Done(facts, digest)
        self._identities.add(facts.identity)
        self._unsaved.add(name)

    def forget(self, now: Mapping[str, PictureFacts]) -> None:
        """Let go of the oldest names of removed pictures, or a year of names stays in memory.

        By age and never because a name is not there at this moment; where nothing is there at all, the folder itself
        may be away, and nothing is forgotten.

        Args:
            now: the pictures that are there.
        """
        if not now or len(self._done) <= len(now) + self._limit:
            return
        gone = sorted((one.facts.changed, name) for name, one in self._done.items() if name not in now)
        # Half of them, so that sorting is rare.
        for changed, name in gone[: len(gone) - self._limit // 2]:
            del self._done[name]
            self._unsaved.add(name)
            self.forgotten_up_to = max(self.forgotten_up_to, changed)
        self._identities = {one.facts.identity for one in self._done.values()}

    def save(self) -> None:
        """Write down what was noted; where the file refuses, the log says so once, and the next call tries again."""
        if self._database is None or not (self._unsaved or self._whole):
            return
        try:
            self._database.run(self._write)
        except ConfigError as error:
            if not self._refused:
                _LOG.warning("%s Until then nothing is written down of what was inspected in %s.", error, self._shown)
            self._refused = True
            return
        self._unsaved, self._whole, self._refused = set(), False, False

    def close(self) -> None:
        """Let go of the file; what was not saved is not."""
        if self._database is not None:
            self._database.close()
        if self._lock is not None:
            self._lock.close()

    @property
    def _shown(self) -> str:
        return path_text(self._folder)

    def _begun_anew(self, _connection: sqlite3.Connection) -> None:
        """There is another file behind the connection, which may hold nothing."""
        self._whole = True

    def _load(self) -> None:
        if self._database is None:
            return
        try:
            folder, self.device, forgotten, rows = self._database.run(_read)
        except ConfigError as error:
            _LOG.warning("%s What was inspected in %s before is not known.", error, self._shown)
            return
        if folder is None:
            return
        if folder != self._place:
            _LOG.warning("%s is of another folder than %s, and is begun anew.", self._state, self._shown)
            return
        self._done = {str(self._folder / os.fsdecode(name)): done for name, done in rows}
        self._identities = {one.facts.identity for one in self._done.values()}
        self.forgotten_up_to = forgotten
        self.known, self._whole = True, False

    def _write(self, database: sqlite3.Connection) -> None:
        names: set[str] = self._unsaved
        if self._whole:
            database.execute("DELETE FROM pictures")
            names = set(self._done)
        database.executemany(_DROP, ((self._key(name),) for name in names if name not in self._done))
        database.executemany(_PUT, self._rows(name for name in names if name in self._done))
        database.execute("DELETE FROM watched")
        database.execute(
            "INSERT INTO watched VALUES (?, ?, ?)", (self._place, str(self.device or 0), self.forgotten_up_to)
        )

    def _rows(self, names: Iterator[str]) -> Iterator[tuple[bytes, str, bytes | None]]:
        for name in names:
            done = self._done[name]
            # As text: file systems number files beyond what an integer of a database holds.
            yield self._key(name), " ".join(map(str, done.facts)), done.digest

    def _key(self, name: str) -> bytes:
        above = f"{self._folder}{os.sep}"
        return os.fsencode(name.removeprefix(above) if name.startswith(above) else os.path.relpath(name, self._folder))


def _read(database: sqlite3.Connection) -> tuple[bytes | None, int | None, float, list[tuple[bytes, Done]]]:
    """Folder, its device, up to when names were forgotten, and pictures; no folder where nothing was written."""
    try:
        watched = database.execute("SELECT folder, device, forgotten_up_to FROM watched").fetchone()
        if watched is None:
            return None, None, -math.inf, []
        rows = [
            (bytes(name), Done(PictureFacts(*map(int, facts.split())), None if digest is None else bytes(digest)))
            for name, facts, digest in database.execute("SELECT name, facts, digest FROM pictures")
        ]
        folder, device, forgotten = watched
        return bytes(folder), int(device), forgotten if forgotten == -math.inf else int(forgotten), rows
    except (TypeError, ValueError, AttributeError, sqlite3.OperationalError) as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) != sqlite3.SQLITE_ERROR:
            raise
        # Whatever wrote that was not this program: to be treated like any other damage.
        damage = sqlite3.DatabaseError("it holds something else")
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damage from None
