"""The places that a sink's settings name, looked at before anything is started."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from ..errors import ConfigError, cannot_write
from .base import SinkSettings, make_folder, secret

__all__ = ["check_places", "check_writable", "occupied", "without_waiting", "written_places"]

_FOLDER = "folder"
# What a sink writes to; other paths end in ``_file`` and are read.
_WRITTEN = (_FOLDER, "path", "spool")


def written_places(settings: SinkSettings, folder: Path) -> list[Path]:
    """The files and folders that the sink will write to; the folders that they need are made.

    What is neither file nor folder, such as ``/dev/stdout``, is nobody's own and left out; so is a place that cannot be
    made, which the sink itself refuses.

    Args:
        settings: of the sink.
        folder: what relative paths are relative to.
    """
    found = []
    for key, place in _places(settings, folder).items():
        above = place if key == _FOLDER else place.parent
        with suppress(ConfigError):
            make_folder(above)
        if above.is_dir() and not _is_device(place):
            found.append(place)
    return found


def occupied(settings: SinkSettings, folder: Path) -> list[str]:
    """What a sink has for itself, in words: its files, and what the other end knows it by.

    Args:
        settings: of the sink.
        folder: what relative paths are relative to.
    """
    places = [place for place in _places(settings, folder).values() if not _is_device(place)]
    return [*(str(place.resolve()) for place in places), *settings.occupies()]


def _is_device(place: Path) -> bool:
    """Whether it is neither file nor folder, such as ``/dev/stdout``, and so nobody's own."""
    return place.exists() and not (place.is_file() or place.is_dir())


def check_places(settings: SinkSettings, folder: Path) -> dict[str, Path]:
    """Refuse settings that a sink could not start or write by; nothing is left behind.

    Returns:
        what the sink would write to, by key.

    Raises:
        ConfigError: a place cannot be written to, a file that it reads is missing, or a secret is not set.
    """
    places = _places(settings, folder)
    for key, place in places.items():
        check_writable(place, is_folder=key == _FOLDER)
    for key in type(settings).model_fields:
        value = getattr(settings, key)
        if key.endswith("_env"):
            secret(value)
        elif key.endswith("_file") and value is not None:
            _check_readable(folder / value)
    return places


def _places(settings: SinkSettings, folder: Path) -> dict[str, Path]:
    found = {key: getattr(settings, key, None) for key in _WRITTEN}
    return {key: folder / place for key, place in found.items() if isinstance(place, Path)}


def check_writable(place: Path, *, is_folder: bool = False) -> None:
    """Raise ``ConfigError`` where a file, or a folder, could not be written or made; nothing is left behind."""
    try:
        if place.exists() and not is_folder:
            # Opened as the sink would, and left as it is.
            with open(place, "ab", opener=without_waiting):
                return
        # The folder itself, or where it would be made.
        above = place if is_folder else place.parent
        while not above.exists():
            above = above.parent
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise cannot_write(place, error) from None


def without_waiting(path: str, flags: int) -> int:
    """Opens for ``open(opener=)``; a named pipe that nobody reads is an error at once, and not a wait for a reader."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
    if hasattr(os, "O_NONBLOCK"):
        os.set_blocking(descriptor, True)
    return descriptor


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); correct its place.") from None
