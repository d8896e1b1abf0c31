"""OpenVINO's compiled models on disk: thrown away and made anew whenever they are not what was written.

They are a convenience and no part of the bundle: a power cut or a full disk damages them, and OpenVINO reads what it
finds. So each bundle's graph has a folder of its own, with the digest of every file in it; those of graphs that were
opened long ago are removed. And it is computed with as it is, past all that a bundle's graph is looked at for: so
nobody else may write there.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path

from ..atomic_folder import replace_text
from ..bundle.bundle import file_facts
from ..bundle.lower_precision import InferencePrecision
from ..errors import cannot_write

__all__ = ["CompiledModels"]

_DIGESTS = "digests.json"
_LOG = logging.getLogger(__name__)
_GRAPH = re.compile(r"graph-[0-9a-f]{32}(-(bf16|f16))?")
_MOST_GRAPHS = 16
_LONGEST_UNUSED_DAYS = 90
_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class CompiledModels:
    """The compiled models of one graph.

    Args:
        folder: for all graphs; it may be somebody else's cache as well, and nothing else in it is touched.
        graph: digest of the graph; another graph never meets this one's compiled models.
        precision: what the graph is computed in; each has its own.

    Attributes:
        folder: of this graph.

    Raises:
        ConfigError: the folder cannot be written.
    """

    def __init__(self, folder: Path, graph: str, precision: InferencePrecision = "f32") -> None:
        self.folder = Path(folder) / f"graph-{graph[:32]}{'' if precision == 'f32' else f'-{precision}'}"
        try:
            self._make()
            if not os.access(self.folder, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            raise cannot_write(folder, error, "choose another cache_dir") from None

    def is_private(self) -> bool:
        """Whether nobody but this user may put a compiled model there; says so where it is not.

        A folder of this user's that others may write to is closed to them, and what is in it thrown away.
        """
        if sys.platform == "win32":  # where folders have the rights of the one that they are made in
            return True
        why = ""
        try:
            facts = self.folder.lstat()
            if stat.S_ISLNK(facts.st_mode) or facts.st_uid != os.geteuid():
                why = "is another user's, or a link"
            elif facts.st_mode & _BY_OTHERS:
                self.discard("others could write there")
                if self.folder.lstat().st_mode & _BY_OTHERS:
                    why = "may be written by others, whatever its rights are set to"
        except OSError as error:
            why = f"cannot be looked at ({error.strerror})"
        if why:
            _LOG.warning(
                "%s %s, and a compiled model is computed with as it is; the model is compiled at each start until "
                "there is a cache_dir of this user's own.",
                self.folder,
                why,
            )
        return not why

    def prepare(self) -> bool:
        """Throw away what is not whole; returns whether something is left to load."""
        found, known = self._found(), self._known()
        if found != known:
            self.discard("they are not as they were written")
        with suppress(OSError):
            # What was opened last is the last to be removed.
            os.utime(self.folder)
        return bool(found) and found == known

    def keep(self) -> None:
        """Remember what is there now, as written by a start that went well; what is old goes."""
        try:
            replace_text(self.folder / _DIGESTS, json.dumps(self._found()))
        except OSError as error:
            _LOG.warning("%s: the compiled model is not kept (%s); the next start compiles again.", self.folder, error)

        self._prune()

    def _prune(self) -> None:
        """Remove the compiled models of other graphs that were not opened for 90 days, or before sixteen others."""
        others = [folder for folder in self._siblings() if folder != self.folder]
        others.sort(key=_last_opened, reverse=True)
        oldest = time.time() - _LONGEST_UNUSED_DAYS * 86_400
        gone = [
            folder for place, folder in enumerate(others, 2) if place > _MOST_GRAPHS or _last_opened(folder) < oldest
        ]
        for folder in gone:
            # A line that is running has read its own long ago.
            shutil.rmtree(folder, ignore_errors=True)
        if gone:
            _LOG.info(
                "Compiled models of %d bundles that were opened long ago are removed from %s.",
                len(gone),
                self.folder.parent,
            )

    def _siblings(self) -> list[Path]:
        try:
            return [folder for folder in self.folder.parent.iterdir() if _GRAPH.fullmatch(folder.name)]
        except OSError:
            return []

    def discard(self, why: str) -> None:
        """Throw all of them away."""
        _LOG.warning("The compiled models in %s are made anew: %s.", self.folder, why)
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self._make()
        except OSError as error:
            raise cannot_write(self.folder, error, "choose another cache_dir") from None

    def _make(self) -> None:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)

    def _found(self) -> dict[str, str]:
        try:
            return {file.name: file_facts(file).sha256 for file in self.folder.iterdir() if _is_model(file)}
        except OSError:
            return {}

    def _known(self) -> dict[str, str]:
        try:
            known = json.loads((self.folder / _DIGESTS).read_text(encoding="ascii"))
        except (OSError, ValueError, RecursionError):
            return {}
        return known if isinstance(known, dict) else {}


def _last_opened(folder: Path) -> float:
    with suppress(OSError):
        return folder.stat().st_mtime
    return 0.0


def _is_model(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(_DIGESTS)
