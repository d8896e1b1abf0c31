"""Paths of what is no file of this machine: a member of an archive, or what a URL names.

Such a path has the name that reports, runs and pictures use, and reads its bytes from where they are. So all that takes
an image file's path takes it.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from stat import S_IFDIR, S_IFREG
from typing import TYPE_CHECKING, BinaryIO, Protocol

__all__ = ["Store", "StoredPath", "stored_path"]

if TYPE_CHECKING:
    _Path = Path
else:
    # Before Python 3.12 only the class of this system's paths can be derived from.
    _Path = type(Path())


class Store(Protocol):
    """Where a path's bytes are; raises ``OSError`` where they cannot be had."""

    def size(self) -> int:
        """Bytes, as far as they are known without asking a network; 0 where they are not."""
        ...

    def read(self) -> bytes:
        """All of them."""
        ...


class StoredPath(_Path):
    """A path whose bytes a store gives; made by ``stored_path``. What is derived from it, such as its parent, has none.

    Of URLs it is the URL without user, password and query, as in ``https:/host/parts/000.jpg``.
    """

    __slots__ = ("_bytes",)
    _bytes: Store

    @property
    def store(self) -> Store | None:
        """Where the bytes are; None where only the name is known."""
        return getattr(self, "_bytes", None)

    @property
    def is_remote(self) -> bool:
        """Whether the name is that of a URL, which no folder of this machine is above."""
        first = self.parts[0] if self.parts else ""
        return first.endswith(":") and len(first) > len("C:")

    def open(self, mode: str = "rb", *_: object, **__: object) -> BinaryIO:  # type: ignore[override]
        """The bytes as a file; they cannot be written."""
        if mode not in ("r", "rb"):
            raise OSError(None, "it can only be read")
        return io.BytesIO(self.read_bytes())

    def read_bytes(self) -> bytes:
        """All of it; raises ``OSError``."""
        return self._required().read()

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Kind and size alone; raises ``OSError``."""
        if self.store is None:
            return os.stat_result((S_IFDIR, 0, 0, 0, 0, 0, 0, 0, 0, 0))
        return os.stat_result((S_IFREG, 0, 0, 1, 0, 0, self.store.size(), 0, 0, 0))

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there are bytes to be asked for; that they can be had only reading them says."""
        return self.store is not None

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """As ``exists``."""
        return self.store is not None

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """What lists name are files."""
        return False

    def absolute(self) -> Path:  # type: ignore[override]
        """Of a URL the name itself."""
        plain = Path(str(self))
        return plain if self.is_remote else plain.absolute()

    def _required(self) -> Store:
        if self.store is None:
            raise FileNotFoundError(None, "nothing is known of it but its name")
        return self.store


def stored_path(name: str | os.PathLike[str], store: Store) -> StoredPath:
    """The path of that name whose bytes are in a store."""
    path = StoredPath(name)
    # Paths of Python 3.11 are not made by __init__.
    path._bytes = store
    return path
