"""Files in sentences: as short as they can be, and a few of many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from patchcore_edge_runtime.path_text import path_text

from ..file_names import distinct_names

__all__ = ["Names", "counted", "plural"]

_SHOWN = 3


class Names:
    """What files are called in one report.

    Args:
        paths: all that may be named.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._names = {path: path_text(name) for path, name in distinct_names(list(dict.fromkeys(paths))).items()}

    def __getitem__(self, path: Path) -> str:
        return self._names[path]

    def all(self, paths: Iterable[Path]) -> list[str]:
        """Each by its name."""
        return [self[path] for path in paths]

    def few(self, paths: Sequence[Path]) -> str:
        """``a, b, c and 4 more``."""
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        return f"{', '.join(self.all(paths[:_SHOWN]))}{more}"


def counted(counts: Counter[str]) -> str:
    """``good 100, crack 57``, the most frequent first; the number alone is the reader's to know where all are one."""
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def plural(count: int, one: str, many: str = "") -> str:
    """``1 image``, ``2 images``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
