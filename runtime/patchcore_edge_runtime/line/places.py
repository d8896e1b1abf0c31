"""Where a setting of a line was said: the line of the file, the environment variable, or the option."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LINE", "Places", "line_of"]

LINE = "line"
"""The key of the tables ``[[line]]``."""


@dataclass(frozen=True)
class Places:
    """Where the settings of one file were said.

    Attributes:
        file: that was read; None where all was said elsewhere.
        text: of the file.
        outside: dotted key → the option or the variable that said it.
    """

    file: Path | None
    text: str
    outside: Mapping[str, str]

    def of(self, keys: Sequence[str | int], table: int | None = None) -> str:
        """The place of a setting, in words.

        Args:
            keys: of the setting, as the line knows it.
            table: number of its table ``[[line]]``; what does not stand there stands at the top, for all lines.
        """
        dotted = ".".join(str(key) for key in keys)
        for key, place in self.outside.items():
            if dotted == key or dotted.startswith(key + "."):
                return place
        names = [str(key) for key in keys]
        number, where = line_of(self.text, names), dotted
        if table is not None:
            own = [LINE, str(table), *names]
            in_table = line_of(self.text, own)
            # A key that is nowhere is missing in the line's own table.
            if _said(self.text, own) or not _said(self.text, names):
                number, where = in_table, f"[[{LINE}]] {table + 1}{', ' if dotted else ''}{dotted}"
        start = str(self.file or "settings") if number is None else f"{self.file}, line {number}"
        return f"{start}, {where}" if where else start


def line_of(text: str, keys: list[str]) -> int | None:
    """The line that sets a key, or the header of the innermost table that is there; None when there is neither.

    Of tables in double brackets the key after the name is their number, from 0.
    """
    found = _deepest(text, keys)
    return None if found is None else found[1]


def _said(text: str, keys: list[str]) -> bool:
    """Whether the very key stands there, or one of its table."""
    found = _deepest(text, keys)
    return found is not None and found[0] == len(keys)


def _deepest(text: str, keys: list[str]) -> tuple[int, int] | None:
    """How many of the keys are there, and in which line."""
    table: list[str] = []
    numbers: Counter[str] = Counter()
    best: tuple[int, int] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[(\[?)([^\]]+)\]", line)
        assigned = re.match(r"\s*([A-Za-z0-9_.\"'\- ]+?)\s*=", line)
        if header:
            names = _names(header[2])
            numbers[names[0]] += bool(header[1]) and len(names) == 1
            at = [str(numbers[names[0]] - 1)] if numbers[names[0]] else []
            table = path = [names[0], *at, *names[1:]]
        elif assigned:
            path = table + _names(assigned[1])
        else:
            continue
        if path == keys[: len(path)] and (best is None or len(path) > best[0]):
            best = (len(path), number)
    return best


def _names(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]
