"""The tables ``[[line]]`` of a file: what they share, and what each has to have for itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from ..sinks.http.settings import HttpSettings
from ..validation import explain_fault

__all__ = ["Fault", "merged", "outside_faults", "read_server", "table_faults"]

Fault = tuple[tuple[str | int, ...], str, int | None]
"""The keys that are wrong, why, and the number of the table ``[[line]]`` in which they stand; None for the top."""

_SERVER = "http"


def merged(shared: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """A line's settings: what its table says, and where it says nothing what stands at the top of the file.

    A camera that is not there at the start keeps the other lines from nothing: it is waited for unless told otherwise.
    """
    return _merged(_merged({"source": {"wait": True}}, shared), table)


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {**under, **over}
    for key in under.keys() & over.keys():
        if isinstance(under[key], Mapping) and isinstance(over[key], Mapping):
            both[key] = _merged(under[key], over[key])
    return both


def table_faults(tables: Any) -> list[Fault]:
    """What is wrong with the tables as such: their kind, and their names, by which people and addresses tell them."""
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        return [(("line",), "lines are tables [[line]], one for each camera; write them so", None)]
    faults: list[Fault] = []
    seen: dict[Any, int] = {}
    for number, table in enumerate(tables):
        name = table.get("name")
        if name is None:
            faults.append((("name",), "it is missing; give each line a name of its own", number))
        elif isinstance(name, str) and ("/" in name or name in {".", ".."}):
            faults.append((("name",), "it stands in addresses of the web server; give a name without /", number))
        elif isinstance(name, str) and seen.setdefault(name, number) != number:
            faults.append((("name",), f"[[line]] {seen[name] + 1} has the same; give each a name of its own", number))
    return faults


def outside_faults(said: Iterable[str]) -> list[Fault]:
    """What an option or a variable may not say of several lines at once."""
    return [
        (tuple(key.split(".")), "the file describes several lines, which each have their own; say it there", None)
        for key in said
        if key in {"name", "source.uri"} or key.split(".")[0] == "sinks"
    ]


def read_server(sinks: Any) -> tuple[HttpSettings | None, list[Fault]]:
    """The web server that all lines share, from the sinks at the top of the file."""
    if not isinstance(sinks, dict):
        return None, [(("sinks",), "it is no table; give one", None)]
    faults: list[Fault] = [
        (("sinks", name), f"only the web server is shared; write it as [line.sinks.{name}] in each line", None)
        for name in sinks
        if name != _SERVER
    ]
    if _SERVER not in sinks:
        return None, faults
    try:
        return HttpSettings.model_validate({"kind": _SERVER, **sinks[_SERVER]}), faults
    except ValidationError as error:
        found = [(fault["loc"], explain_fault(fault, HttpSettings)) for fault in error.errors()]
    except TypeError:
        found = [((), "it is no table; give one")]
    return None, [*faults, *((("sinks", _SERVER, *keys), text, None) for keys, text in found)]
