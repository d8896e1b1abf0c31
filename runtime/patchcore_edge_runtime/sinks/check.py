"""What would keep the sinks of a line from starting, found without starting them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

from ..errors import ConfigError
from ..place_lock import PlaceLock
from .base import SinkSettings, missing_extra
from .places import check_places, occupied
from .registry import SINKS

__all__ = ["EXTRAS", "check_sinks", "shared_places"]

EXTRAS = {"http": ("starlette", "uvicorn"), "mqtt": ("paho",), "modbus": ("pymodbus",)}
"""What each kind of sink that needs an extra of its name imports from it."""


def check_sinks(settings: Mapping[str, SinkSettings], folder: Path) -> list[str]:
    """Refuse what a line's sinks would refuse at the start, all of it; nothing is opened, sent or left behind.

    Args:
        settings: by the sink's name.
        folder: what relative paths are relative to.

    Returns:
        what a running line explains and another one would stumble over, each in a sentence.

    Raises:
        ConfigError: one of them cannot start or not write; says which, and all that there are.
    """
    notes: list[str] = []
    faults: list[str] = []
    for name, table in settings.items():
        try:
            notes += _check_sink(name, table, folder)
        except ConfigError as error:
            faults.append(f"[sinks.{name}]: {error}")
    if faults:
        raise ConfigError(" ".join(faults))
    return notes


def shared_places(tables: Iterable[tuple[str, SinkSettings, Path]]) -> list[str]:
    """What more than one sink would have, each in a sentence.

    Args:
        tables: what to call each sink, its settings, and what its relative paths are relative to.
    """
    users: dict[str, str] = {}
    faults = []
    for name, table, folder in tables:
        for place in occupied(table, folder):
            other = users.setdefault(place, name)
            if other != name:
                faults.append(f"{name} and {other} both have {place}; give each a place of its own")
                break
    return faults


def _check_sink(name: str, table: SinkSettings, folder: Path) -> list[str]:
    kind = table.kind or name
    if not all(find_spec(package) for package in EXTRAS.get(kind, ())):
        raise missing_extra(kind)
    notes = []
    places = check_places(table, folder)
    for place in places.values():
        who = PlaceLock.holder(place)
        if who is not None:
            notes.append(f"{place} is in use by {who}; a second line there is refused.")
    check = getattr(SINKS[kind], "check", None)
    return notes if check is None else [*notes, *check(table, places)]
