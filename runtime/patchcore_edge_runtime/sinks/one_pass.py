"""A folder for the results of one pass, which has no next start to go on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path

from ..errors import ConfigError, cannot_write
from ..images.formats import is_picture_name
from ..images.listing import is_overlay_name
from ..path_text import path_from_text, path_text
from ..place_lock import PlaceLock
from .archive import OverlaySink
from .base import Sink, make_folder
from .jsonl import JsonlSink

__all__ = ["one_pass"]

_RESULTS = "results.jsonl"


@contextmanager
def one_pass(folder: Path | None, *, overwrite: bool) -> Iterator[Callable[[], AbstractContextManager[list[Sink]]]]:
    """The sinks of one pass: results and annotated images in a folder; none where there is no folder.

    Args:
        folder: made when absent.
        overwrite: an earlier pass may be replaced.

    Yields:
        what opens them when all that may fail has not; leaving it closes them.

    Raises:
        ConfigError: an earlier pass left its results there, which would be lost or mixed with the new ones, or
            somebody else writes there now.
    """
    if folder is None:
        yield lambda: nullcontext([])
        return
    with _held_folder(folder, overwrite=overwrite) as begin:

        @contextmanager
        def opened() -> Iterator[list[Sink]]:
            with closing(JsonlSink(begin())) as results:
                yield [results, OverlaySink(folder)]

        yield opened


@contextmanager
def _held_folder(folder: Path, *, overwrite: bool) -> Iterator[Callable[[], Path]]:
    """Hold a folder for one pass; nobody else writes there meanwhile.

    Args:
        folder: made when absent.
        overwrite: an earlier pass may be replaced.

    Yields:
        what makes the folder ready and returns the file for the results. It takes the earlier pass away, its pictures
        too and nothing else; so it is called when all that may fail has not.

    Raises:
        ConfigError: an earlier pass left its results there, which would be lost or mixed with the new ones, or photos
            are there, which nobody could tell from annotated ones afterwards, or somebody else writes there now.
    """
    results, made = folder / _RESULTS, not folder.exists()
    make_folder(folder)
    _refuse_photos(folder)
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


def _refuse_photos(folder: Path) -> None:
    try:
        photos = sorted(path.name for path in folder.iterdir() if is_picture_name(path.name))
    except OSError as error:
        raise cannot_write(folder, error) from None
    others = [name for name in photos if not is_overlay_name(name)]
    if others:
        raise ConfigError(
            f"{folder} holds pictures that are no results ({path_text(others[0])}), and annotated ones would be taken "
            "for photos there; choose a folder of their own."
        )


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
