"""A byte budget for files that pile up: the oldest go first."""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path

from ..errors import ConfigError

__all__ = ["ByteBudget"]


class ByteBudget:
    """Keeps the files of one sink below a number of bytes.

    Only files whose path below ``folder`` matches ``pattern`` are ever counted or removed; the pattern's group 1 names
    what belongs together and goes together, and sorting by it must sort by age.

    Args:
        folder: where the files lie; it is read once, so that a restart goes on with what is there.
        pattern: of the whole path relative to ``folder``, with forward slashes.
        max_bytes: the budget.
    """

    def __init__(self, folder: Path, pattern: re.Pattern[str], max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._groups: deque[tuple[int, list[Path]]] = deque()
        self._used = 0
        found: dict[str, list[Path]] = {}
        for path in folder.rglob("*"):
            match = pattern.fullmatch(path.relative_to(folder).as_posix())
            if match and path.is_file():
                found.setdefault(match[1], []).append(path)
        for _, paths in sorted(found.items()):
            self.add(paths)

    @property
    def used(self) -> int:
        """Bytes in files at present."""
        return self._used

    def make_room(self, size: int) -> None:
        """Remove the oldest groups until ``size`` more bytes fit.

        Raises:
            ConfigError: the budget is smaller than ``size``, or a file cannot be removed.
        """
        if size > self._max_bytes:
            raise ConfigError(f"The budget of {self._folder} is smaller than one entry of {size} bytes; raise max_mb.")
        stuck: list[tuple[int, list[Path]]] = []
        try:
            while self._used + size > self._max_bytes and self._groups:
                held, paths = self._groups.popleft()
                if not all(_removed(path) for path in paths):
                    # Somebody has it open; on Windows that keeps it. The next one will do.
                    stuck.append((held, paths))
                    continue
                self._used -= held
                self._remove_empty(paths[0].parent)
        finally:
            self._groups.extendleft(reversed(stuck))
        if self._used + size > self._max_bytes:
            raise ConfigError(f"No file in {self._folder} can be removed to make room; close what holds them.")

    def add(self, paths: list[Path]) -> None:
        """Count a group of files just written as the newest."""
        size = sum(path.stat().st_size for path in paths)
        self._groups.append((size, paths))
        self._used += size

    def _remove_empty(self, folder: Path) -> None:
        if folder != self._folder and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _removed(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True
