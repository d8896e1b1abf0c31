"""A folder for the results of one pass, which has no next start to go on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import ConfigError, cannot_write
from ..path_text import path_from_text
from ..place_lock import PlaceLock
from .archive import OverlaySink
from .base import make_folder

__all__ = ["one_pass_folder"]

_RESULTS = "results.jsonl"


@contextmanager
def one_pass_folder(folder: Path, *, overwrite: bool) -> Iterator[Callable[[], Path]]:
    """Hold a folder for one pass; nobody else writes there meanwhile.

    Args:
        folder: made when absent.
        overwrite: an earlier pass may be replaced.

    Yields:
        what makes the folder ready and returns the file for the results. It takes the earlier pass away, its pictures
        too and nothing else; so it is called when all that may fail has not.

    Raises:
        ConfigError: an earlier pass left its results there, which would be lost or mixed with the new ones, or
            somebody else writes there now.
    """
    results, made = folder / _RESULTS, not folder.exists()
    make_folder(folder)
    try:
        with PlaceLock(folder):
            if results.exists() and not overwrite:
                raise ConfigError(
                    f"{folder} holds the results of an earlier run; choose another folder, or replace them with "
                    "--overwrite."
                )

            def begin() -> Path:
                if results.exists():
                    _remove(results)
                return results

            yield begin
    finally:
        if made:
            with suppress(OSError):
                # Only when nothing came into it.
                folder.rmdir()


def _remove(results: Path) -> None:
    """Take away results and the pictures that they tell of; the pictures first, as nothing tells of them afterwards."""
    try:
        for line in results.read_bytes().splitlines():
            picture = _picture(line)
            if picture is not None:
                (results.parent / picture).unlink(missing_ok=True)
        results.unlink()
    except OSError as error:
        raise cannot_write(results.parent, error) from None


def _picture(line: bytes) -> str | None:
    try:
        facts = json.loads(line)
        # A name and no path: what the file says must not reach beyond its folder.
        return Path(OverlaySink.file_name(int(facts["frame"]), path_from_text(str(facts["name"])))).name
    except (ValueError, TypeError, KeyError):
        return None
