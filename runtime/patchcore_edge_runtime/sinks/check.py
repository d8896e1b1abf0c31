"""What would keep the sinks of a line from starting, found without starting them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from ..errors import ConfigError
from ..place_lock import PlaceLock
from .base import SinkSettings, missing_extra
from .places import check_places
from .registry import SINKS

__all__ = ["check_sinks"]

_EXTRAS = {"http": ("starlette", "uvicorn"), "mqtt": ("paho",), "modbus": ("pymodbus",)}


def check_sinks(settings: Mapping[str, SinkSettings], folder: Path) -> list[str]:
    """Refuse what a line's sinks would refuse at the start; nothing is opened, sent or left behind.

    Args:
        settings: by the sink's name.
        folder: what relative paths are relative to.

    Returns:
        what a running line explains and another one would stumble over, each in a sentence.

    Raises:
        ConfigError: one of them cannot start or not write; says which.
    """
    notes: list[str] = []
    users: dict[Path, str] = {}
    for name, table in settings.items():
        try:
            notes += _check_sink(name, table, folder, users)
        except ConfigError as error:
            raise ConfigError(f"[sinks.{name}]: {error}") from None
    return notes


def _check_sink(name: str, table: SinkSettings, folder: Path, users: dict[Path, str]) -> list[str]:
    kind = table.kind or name
    if not all(find_spec(package) for package in _EXTRAS.get(kind, ())):
        raise missing_extra(kind)
    notes = []
    for place in check_places(table, folder).values():
        other = users.setdefault(place.resolve(), name)
        if other != name:
            raise ConfigError(f"{place} is where [sinks.{other}] writes; give each a place of its own.")
        who = PlaceLock.holder(place)
        if who is not None:
            notes.append(f"{place} is in use by {who}; a second line there is refused.")
    check = getattr(SINKS[kind], "check", None)
    return notes if check is None else [*notes, *check(table)]
