"""What was judged, kept so that an interrupted search goes on: one file of arrays for each layout."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from patchcore_edge_runtime.errors import CheckpointError, cannot_write

from .grounds import Folds
from .judge import Found
from .recipe import Layout

__all__ = ["Journal"]


class Journal:
    """A hidden folder beside the run that is to be written.

    Args:
        folder: made when it is not there.
        fingerprint: of the images and of all options that change what is found; what another one left is not used.
        used: False for a process that leaves it to another one: it finds nothing here and keeps nothing.

    Raises:
        CheckpointError: the folder cannot be written.
    """

    def __init__(self, folder: Path, fingerprint: str, used: bool = True) -> None:
        self.folder, self._fingerprint, self._used = folder, fingerprint, used
        if not used:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error, kind=CheckpointError) from None

    def read(self, layout: Layout) -> Found | None:
        """What was found before; None for nothing, or what was not written to its end."""
        file = self._named(layout.model_dump_json())
        if not self._used or not file.is_file():
            return None
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                good, defects, real, located = (arrays[name] for name in ("good", "defects", "real", "located"))
                return Found(good, defects, real, located, int(arrays["dimensions"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def write(self, layout: Layout, found: Found) -> None:
        """Keep what was found, whole or not at all."""
        self._save(self._named(layout.model_dump_json()), vars(found))

    def folds(self) -> Folds | None:
        """The folds that were found before."""
        if not self._used:
            return None
        try:
            with self._named("folds").open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                images = [arrays[name] for name in sorted(arrays.files) if name.startswith("fold")]
                return Folds([np.asarray(fold, np.int64) for fold in images], bool(arrays["by_lot"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def keep_folds(self, folds: Folds) -> None:
        """Keep the folds: what is judged by others cannot be compared."""
        images = {f"fold{place:03d}": fold for place, fold in enumerate(folds.images)}
        self._save(self._named("folds"), {**images, "by_lot": np.array(folds.by_lot)})

    def discard(self) -> None:
        """The search is done."""
        if self._used:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _save(self, file: Path, arrays: Mapping[str, Any]) -> None:
        if not self._used:
            return
        fresh = file.with_suffix(".new")
        try:
            with fresh.open("wb") as stream:
                np.savez(stream, **arrays)
            fresh.replace(file)
        except OSError as error:
            raise cannot_write(self.folder, error, kind=CheckpointError) from None

    def _named(self, what: str) -> Path:
        digest = hashlib.sha256(f"{self._fingerprint} {what}".encode()).hexdigest()
        return self.folder / f"{digest[:32]}.npz"
