"""Names of files for people and for pictures of them: as short as they can be, and no two alike."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.path_text import path_text

from .dataset import ImageItem

__all__ = ["distinct_names", "new_pictures", "picture_names", "some_names"]

_SHOWN = 3


def distinct_names(paths: Sequence[Path]) -> dict[Path, PurePath]:
    """Each file's path below the deepest folder that they share, and at least with its own folder: ``good/000.png``."""
    absolute = {path: Path(os.path.normpath(path.absolute())) for path in paths}
    folders = {path.parent.parent for path in absolute.values()}
    try:
        shared = os.path.commonpath(folders) if folders else ""
    except ValueError:  # on several drives
        shared = ""
    return {
        path: PurePath(os.path.relpath(whole, shared)) if shared else whole.relative_to(whole.anchor)
        for path, whole in absolute.items()
    }


def some_names(items: Sequence[ImageItem]) -> str:
    """The names of a few images, and how many more there are: ``a.png, b.png, c.png and 4 more``."""
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(path_text(item.path.name) for item in items[:_SHOWN]) + more


def picture_names(paths: Sequence[Path]) -> dict[Path, PurePath]:
    """What the PNG of each file is called; the files' own endings stay where names alone would not do."""
    names = distinct_names(paths)
    short = {path: name.with_suffix(".png") for path, name in names.items()}
    # Where some file systems tell no small from capital letters.
    if len({str(name).casefold() for name in short.values()}) == len(short):
        return short
    return {path: name.with_name(f"{name.name}.png") for path, name in names.items()}


def new_pictures(paths: Sequence[Path], output: Path | None) -> dict[Path, PurePath]:
    """What the picture of each file is called below ``output``; none where there is no such folder.

    Raises:
        ConfigError: a file of that name is there: a picture of another image, or the image itself.
    """
    if output is None:
        return {}
    names = picture_names(paths)
    for name in names.values():
        if (Path(output) / name).exists():
            raise ConfigError(f"{Path(output) / name} is there already; give a new folder for the pictures.")
    return names
