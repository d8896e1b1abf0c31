"""What a report says of pictures that are there more than once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .names import Names, plural

__all__ = ["copy_doubts"]

_SHOWN = 3
_Groups = Sequence[Sequence[Path]]


def copy_doubts(same: _Groups, where: Mapping[Path, tuple[str, str]], names: Names) -> Iterator[str]:
    """Pictures in more than one set, with two labels, and twice in one set.

    Args:
        same: files that show the same.
        where: set and label of each.
        names: what files are called.
    """
    roles = [_parted(group, {path: where[path][0] for path in group}) for group in same]
    labels = [_parted(group, {path: where[path][1] for path in group}) for group in same]
    for sets in dict.fromkeys(tuple(parts) for parts in roles if len(parts) > 1):
        some = [[paths[0] for paths in parts.values()] for parts in roles if tuple(parts) == sets]
        pictures = plural(len(some), "picture is", "pictures are")
        yield f"{pictures} in {' and '.join(sets)} ({_equations(some, names)})."
    if torn := [[paths[0] for paths in parts.values()] for parts in labels if len(parts) > 1]:
        pictures = plural(len(torn), "picture has", "pictures have")
        yield f"{pictures} more than one label ({_equations(torn, names)})."
    alike = [parts for parts, kinds in zip(roles, labels, strict=True) if len(kinds) == 1]
    for role in dict.fromkeys(role for parts in alike for role in parts):
        if within := [parts[role] for parts in alike if len(parts.get(role, ())) > 1]:
            images = plural(sum(len(paths) - 1 for paths in within), "image is a copy", "images are copies")
            yield f"{images} of another in {role} ({_equations(within, names)})."


def _parted(group: Sequence[Path], words: Mapping[Path, str]) -> dict[str, list[Path]]:
    """By a word for each."""
    parts = defaultdict(list)
    for path in group:
        parts[words[path]].append(path)
    return dict(parts)


def _equations(groups: _Groups, names: Names) -> str:
    shown = [" = ".join(names.all(group[:2])) for group in groups[:_SHOWN]]
    more = f" and {len(groups) - _SHOWN} more" if len(groups) > _SHOWN else ""
    return f"{', '.join(shown)}{more}"
