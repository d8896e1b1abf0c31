"""Folders and files that are there whole or not at all, even when the process that writes them is killed."""

from __future__ import annotations

import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import CheckpointError, cannot_write

__all__ = ["atomic_folder", "replace_text", "require_replaceable"]


def replace_text(file: Path, text: str) -> None:
    """Write a file in UTF-8 that takes the place of what is there when it is whole; raises ``OSError``.

    A device or a pipe, as ``/dev/null`` is, gets the text and keeps its place.
    """
    if file.exists() and not (file.is_file() or file.is_dir()):
        file.write_text(text, encoding="utf-8")
        return
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def require_replaceable(target: Path, marker: str) -> None:
    """Raise ``CheckpointError`` where ``atomic_folder`` would, before hours of work go into what cannot be written."""
    if target.exists() and not (target / marker).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(f"{target} is there and has no {marker}, so it is not replaced; choose another place.")


@contextmanager
def atomic_folder(target: Path, marker: str) -> Iterator[Path]:
    """A folder to fill that takes ``target``'s place when all went well, and is gone otherwise.

    It is filled beside ``target`` under a hidden name ending in ``.part``. A process that is killed leaves that
    behind at most; the next one that writes ``target`` clears it away, and brings the earlier folder back should the
    kill have come between the two renames. One process at a time may write one target.

    Args:
        target: may exist when it is empty or holds the file ``marker``, and is then replaced.
        marker: file that says a folder is of the kind that may be replaced.

    Raises:
        CheckpointError: ``target`` is something else, or cannot be written.
    """
    target = target.resolve()
    _clear_leftovers(target)
    require_replaceable(target, marker)
    fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        try:
            fresh.mkdir(parents=True)
        except OSError as error:
            raise cannot_write(target, error, kind=CheckpointError) from None
        yield fresh
        _take_place(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _take_place(fresh: Path, target: Path) -> None:
    old = fresh.with_suffix(".old")
    try:
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    except OSError as error:
        raise CheckpointError(
            f"{target} cannot be replaced ({error.strerror}); close the programs that use it and try again."
        ) from None
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(old, ignore_errors=True)


def _clear_leftovers(target: Path) -> None:
    """What a killed process left of an earlier try at the same target."""
    pattern = f".{glob.escape(target.name)}.{'[0-9a-f]' * 8}"
    for old in target.parent.glob(f"{pattern}.old"):
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)
    for part in target.parent.glob(f"{pattern}.part"):
        shutil.rmtree(part, ignore_errors=True)
