"""``line.toml``: read and checked before anything is started.

What is said on the command line wins over the environment, and the environment over the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, cannot_read
from ..path_text import home_path
from ..serving.settings import is_server
from ..shown import printable
from ..sinks import SINKS
from ..sinks.check import shared_places
from ..sinks.http.settings import HttpSettings
from ..sources import source_in
from ..validation import ended, explain_fault
from .config import LineConfig
from .environment import ENVIRONMENT_PREFIX, check_names
from .line_tables import merged, outside_faults, read_server, table_faults
from .places import LINE, Places
from .validated import validated

__all__ = ["ENVIRONMENT_PREFIX", "LineFile", "load_line", "load_lines", "read_environment"]

_MAX_BYTES = 1 << 20
_PATHS = frozenset({"bundle", "cache_dir", "source.ca_file", "source.state", "server.ca_file"})
# Keys of sinks whose values are paths.
_SINK_PATHS = {
    key
    for sink in SINKS.values()
    for key, field in sink.Settings.model_fields.items()
    if "Path" in str(field.annotation)
}


@dataclass(frozen=True)
class LineFile:
    """What a file describes.

    Attributes:
        lines: one, or one for each table ``[[line]]``.
        server: the web server that several lines share, where the file has ``[sinks.http]`` at its top.
        several: whether there are tables ``[[line]]``, and be it a single one.
    """

    lines: tuple[LineConfig, ...]
    server: HttpSettings | None = None
    several: bool = False


def load_line(file: Path | None, overrides: Mapping[str, Any], environment: Mapping[str, str]) -> LineConfig:
    """Read and check the one line of a file; arguments and errors are those of ``load_lines``.

    Raises:
        ConfigError: also of a file with tables ``[[line]]``.
    """
    found = load_lines(file, overrides, environment)
    if found.several:
        raise ConfigError(f"{file} has tables [[line]]; give a file that describes one line.")
    return found.lines[0]


def load_lines(file: Path | None, overrides: Mapping[str, Any], environment: Mapping[str, str]) -> LineFile:
    """Read and check a line, or several of one file.

    Args:
        file: ``line.toml``; without one the overrides and the environment must say it all.
        overrides: of the command line: dotted key → value; None for what was not given.
        environment: as ``os.environ``.

    Raises:
        ConfigError: the file is missing or not TOML, values are wrong, or a variable is misspelt; says file, line and
            key of each.
    """
    text, document = _read(file) if file is not None else ("", {})
    said, origin = _said_outside(file, overrides, environment)
    check_names(environment, document)
    reading = _Reading(document, said, Places(file, text, origin))
    found = reading.several() if LINE in document else LineFile(tuple(reading.lines([document])))
    reading.refuse()
    reading.keep_apart(found)
    return found


def _said_outside(
    file: Path | None, overrides: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings that are not the file's: dotted key → value, and → who said it."""
    said, origin = {}, {}
    for key, value in read_environment(environment).items():
        said[key] = value
        origin[key] = f"environment variable {ENVIRONMENT_PREFIX}{key.upper().replace('.', '__')}"
    for key, value in overrides.items():
        if value is not None:
            said[key] = value
            origin[key] = f"command line, {key}"
    return (said if file is None else {key: _from_here(key, value) for key, value in said.items()}), origin


class _Reading:
    """One file on its way to lines; whatever is wrong is collected, and said in one go."""

    def __init__(self, document: dict[str, Any], said: Mapping[str, Any], places: Places) -> None:
        self._document, self._said, self._places = document, said, places
        self._folder = places.file.resolve().parent if places.file is not None else Path()
        self._faults: list[str] = []

    def lines(self, tables: list[dict[str, Any]], *, several: bool = False) -> list[LineConfig]:
        found = []
        for number, table in enumerate(tables):
            whole: dict[str, Any] = {**table, "folder": self._folder}
            for key, value in self._said.items():
                _set(whole, key, value)
            whole = {key: _from_home(key, value) for key, value in whole.items()}
            line, faults = validated(whole)
            found += [] if line is None else [line]
            missing = {fault["loc"][0] for fault in faults if fault["type"] == "missing"}
            if self._places.file is None and missing & {"bundle", "source"}:
                raise ConfigError("There is no bundle or no source; give -m BUNDLE and -s SOURCE, or -c line.toml.")
            for fault in faults:
                self._add(fault["loc"], explain_fault(fault, LineConfig), number if several else None)
        return found

    def several(self) -> LineFile:
        """The lines of the tables ``[[line]]``, each with what stands at the top, where it says nothing else."""
        tables, shared = self._document[LINE], {key: self._document[key] for key in self._document if key != LINE}
        sinks = shared.pop("sinks", {})
        faults = [*table_faults(tables), *outside_faults(self._said)]
        server, server_faults = read_server(sinks)
        for keys, text, number in [*faults, *server_faults]:
            self._add(keys, text, number)
        whole = tables if isinstance(tables, list) and all(isinstance(table, dict) for table in tables) else []
        lines = self.lines([merged(shared, table) for table in whole], several=True)
        return LineFile(tuple(lines), server, several=True)

    def keep_apart(self, found: LineFile) -> None:
        """Raise ``ConfigError`` where two sinks of the file would have the same place."""
        sinks = [
            (f"[{LINE}.sinks.{name}] of {line.name}" if found.several else f"[sinks.{name}]", table, line.folder)
            for line in found.lines
            for name, table in line.sinks.items()
        ]
        if found.server is not None:
            sinks.append(("[sinks.http]", found.server, self._folder))
        self._faults = [f"{self._places.file or 'settings'}: {fault}" for fault in shared_places(sinks)]
        self.refuse()

    def refuse(self) -> None:
        """Raise ``ConfigError`` where anything is wrong."""
        # What all lines share is wrong once; and one line of text, whatever keys are called.
        sentence = printable("; ".join(dict.fromkeys(self._faults)))
        if sentence:
            raise ConfigError(ended(sentence))

    def _add(self, keys: Sequence[str | int], text: str, table: int | None) -> None:
        self._faults.append(f"{self._places.of(keys, table)}: {text}")


def read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings in the environment: dotted key → value; lists and tables are written as in TOML."""
    found = {}
    for name, text in environment.items():
        key = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
        # Others may use the prefix; only the names of settings are ours.
        if name.startswith(ENVIRONMENT_PREFIX) and key.split(".")[0] in LineConfig.model_fields and key != "folder":
            found[key] = _toml_value(text)
    return found


def _toml_value(text: str) -> Any:
    """Lists and tables; plain values are read from their text by the setting itself."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _set(document: dict[str, Any], key: str, value: Any) -> None:
    *tables, last = key.split(".")
    for name in tables:
        inner = document.get(name)
        document[name] = dict(inner) if isinstance(inner, dict) else {}
        document = document[name]
    document[last] = value


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    try:
        with file.open("rb") as reader:
            # Not by the size it says: of a device, or of a pipe, it says none.
            data = reader.read(_MAX_BYTES + 1)
    except OSError as error:
        raise cannot_read(file, error) from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{file} is larger than any configuration; give the line's TOML file.")
    try:
        text = data.decode("utf-8-sig")
        return text, tomllib.loads(text)
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8 text; save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: {error}; correct it.") from None
    except RecursionError:
        raise ConfigError(f"{file} is nested too deeply; write it flat.") from None


def _from_home(key: str, value: Any) -> Any:
    """A path may begin with ``~``: that is no folder beside the file."""
    if isinstance(value, dict):
        return {inner: _from_home(f"{key}.{inner}", one) for inner, one in value.items()}
    return home_path(value) if isinstance(value, str) and value.startswith("~") and _is_path(key) else value


def _is_path(key: str) -> bool:
    """Whether a setting names a file or folder; the source, which may, has words of its own."""
    return key in _PATHS or (key.startswith("sinks.") and key.rsplit(".", maxsplit=1)[-1] in _SINK_PATHS)


def _from_here(key: str, value: Any) -> Any:
    """A path given outside of the file is relative to where the command runs, not to the file."""
    if isinstance(value, dict):
        return {inner: _from_here(f"{key}.{inner}", one) for inner, one in value.items()}
    if not isinstance(value, str | Path):
        return value
    if key == "bundle" and is_server(value):
        return value
    if _is_path(key):
        return Path(home_path(value)).absolute()
    return source_in(Path.cwd(), str(value)) if key == "source.uri" else value
