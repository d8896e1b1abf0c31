"""Digests of image files: what a run remembers of the images that it was fitted on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.files import read_bytes
from patchcore_edge_runtime.path_text import path_text

__all__ = ["FileDigests", "file_bytes", "file_sha256"]


def file_bytes(path: Path) -> bytes:
    """All of a file.

    Raises:
        DataError: it cannot be read, or is larger than the memory.
    """
    return read_bytes(path).tobytes()


def file_sha256(path: Path) -> str:
    """Hexadecimal digest of a file.

    Raises:
        DataError: it cannot be read.
    """
    return hashlib.sha256(file_bytes(path)).hexdigest()


class FileDigests:
    """Digests of files, each of which is read once."""

    def __init__(self) -> None:
        self._known: dict[Path, str] = {}

    def know(self, paths: Iterable[Path], digests: Iterable[str]) -> None:
        """Take digests that somebody else has found."""
        self._known.update(zip(paths, digests, strict=True))

    def __call__(self, path: Path) -> str:
        """The digest; what tells an unreadable file apart where there is none, since a fit names and skips that."""
        if path not in self._known:
            try:
                self._known[path] = file_sha256(path)
            except DataError:
                self._known[path] = f"unreadable {path_text(path.name)}"
        return self._known[path]
