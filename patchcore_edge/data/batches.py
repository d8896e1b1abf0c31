"""Which batch (lot, day, camera, cavity) an image belongs to, and which subfolders are no batches.

Promises hold for parts like those that were calibrated with, and parts of one batch are more alike than parts of two.
A batch is a subfolder, or what a pattern finds in a path, or a column of a list (``list_file``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.images.listing import Listing
from patchcore_edge_runtime.path_text import path_text

from .dataset import ImageItem
from .good_names import sounds_bad, sounds_good
from .splits import is_split

__all__ = ["describe_batches", "require_good_parts", "with_batches"]

_SHOWN = 6


def require_good_parts(listing: Listing) -> None:
    """See that the subfolders of a folder of good parts may be batches of them.

    Raises:
        DataError: a folder's name says that its parts are not good, or that only its parts are.
    """
    folder = listing.folder
    below = {path.parent.relative_to(folder) for path in listing.files}
    for name in sorted({place.parts[0] for place in below if place.parts}):
        if sounds_good(name, number=False):
            raise DataError(f"{folder} holds a folder {name}; give {folder / name}, if the good parts are there.")
    # At any depth: what holds the data of many parts, or of a detector, has its splits further down.
    for place in sorted(below):
        depth = next((at for at, part in enumerate(place.parts) if at and is_split(part)), 0)
        if depth:
            split, whole = Path(*place.parts[: depth + 1]), folder.joinpath(*place.parts[:depth])
            raise DataError(
                f"{folder} holds a folder {split.as_posix()}, as data do that are split; give {whole}, or a folder "
                "that holds good parts only."
            )
    for place in sorted(place for place in below if any(map(sounds_bad, place.parts))):
        raise DataError(
            f"{folder} holds a folder {place.as_posix()}, which does not sound like good parts; "
            "give a folder that holds good parts only."
        )


def with_batches(items: Sequence[ImageItem], folder: Path, pattern: str | None) -> list[ImageItem]:
    """The items with their batches; without any where all would be of one.

    Args:
        items: of files below ``folder``.
        folder: of the good parts.
        pattern: regular expression searched for in the path below ``folder``, with forward slashes; its first group,
            or all it matches, is the batch. The subfolder when None.

    Raises:
        ConfigError: the pattern is none, or is not found in a path.
    """
    names = [_batch(item.path.relative_to(folder), pattern) for item in items]
    if len(set(names)) < 2:
        return list(items)
    return [replace(item, batch=name) for item, name in zip(items, names, strict=True)]


def describe_batches(items: Sequence[ImageItem]) -> str:
    """One sentence with the batches and how many images each has; empty where none are known."""
    counts = Counter(item.batch for item in items if item.batch)
    if not counts:
        return ""
    named = [f"{name} {count}" for name, count in sorted(counts.items())]
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    return f"{sum(counts.values())} images come in {len(counts)} batches ({', '.join(named[:_SHOWN])}{more})."


def _batch(path: Path, pattern: str | None) -> str:
    if pattern is None:
        return path_text(path.parent.as_posix())
    try:
        found = re.search(pattern, path.as_posix())
    except re.error as error:
        raise ConfigError(f"--group-by {pattern!r} is no pattern ({error}); write it as '^([^_]+)_'.") from None
    if found is None:
        raise ConfigError(f"--group-by {pattern!r} finds nothing in {path.as_posix()}; every image needs a batch.")
    batch: str = found[1] if found.re.groups else found[0]
    return path_text(batch)
