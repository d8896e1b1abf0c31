"""``line.toml``: read and checked before anything is started.

What is said on the command line wins over the environment, and the environment over the file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ..errors import ConfigError, cannot_read
from ..shown import printable
from ..sinks import SINKS
from ..sources import source_in
from ..validation import explain_fault
from .config import LineConfig
from .environment import ENVIRONMENT_PREFIX, check_names

__all__ = ["ENVIRONMENT_PREFIX", "load_line", "read_environment"]

_MAX_BYTES = 1 << 20
# Keys of sinks whose values are paths.
_SINK_PATHS = {
    key
    for sink in SINKS.values()
    for key, field in sink.Settings.model_fields.items()
    if "Path" in str(field.annotation)
}


def load_line(file: Path | None, overrides: Mapping[str, Any], environment: Mapping[str, str]) -> LineConfig:
    """Read and check a line.

    Args:
        file: ``line.toml``; without one the overrides and the environment must say it all.
        overrides: of the command line: dotted key → value; None for what was not given.
        environment: as ``os.environ``.

    Raises:
        ConfigError: the file is missing or not TOML, values are wrong, or a variable is misspelt; says line and key of
            each.
    """
    text, document = _read(file) if file is not None else ("", {})
    origin: dict[str, str] = {}
    for key, value in read_environment(environment).items():
        _set(document, key, value if file is None else _from_here(key, value))
        origin[key] = f"environment variable {ENVIRONMENT_PREFIX}{key.upper().replace('.', '__')}"
    for key, value in overrides.items():
        if value is not None:
            _set(document, key, value if file is None else _from_here(key, value))
            origin[key] = f"command line, {key}"
    check_names(environment, document)
    document["folder"] = file.resolve().parent if file is not None else Path()
    try:
        return LineConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(_Origins(file, text, origin).explain(error)) from None


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
        size = file.stat().st_size
        data = file.read_bytes() if size <= _MAX_BYTES else b""
    except OSError as error:
        raise cannot_read(file, error) from None
    if size > _MAX_BYTES:
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


@dataclass(frozen=True)
class _Origins:
    """Where each value was said."""

    file: Path | None
    text: str
    outside: Mapping[str, str]

    def explain(self, error: ValidationError) -> str:
        """All that is wrong, each with its place."""
        missing = {fault["loc"][0] for fault in error.errors() if fault["type"] == "missing"}
        if self.file is None and missing & {"bundle", "source"}:
            return "There is no bundle or no source; give -m BUNDLE and -s SOURCE, or -c line.toml."
        # One line, whatever keys are called.
        faults = printable("; ".join(f"{self.place(fault['loc'])}: {_explain(fault)}" for fault in error.errors()))
        return faults if faults.endswith(".") else faults + "."

    def place(self, keys: Sequence[str | int]) -> str:
        """Line and key in the file, or the option or the environment variable that said it."""
        dotted = ".".join(str(key) for key in keys)
        for key, place in self.outside.items():
            if dotted == key or dotted.startswith(key + "."):
                return place
        number = line_of(self.text, [str(key) for key in keys])
        where = str(self.file or "settings") if number is None else f"{self.file}, line {number}"
        return f"{where}, {dotted}" if dotted else where


def _explain(fault: ErrorDetails) -> str:
    """What pydantic says; of a key that is not there, those that are."""
    if fault["type"] != "extra_forbidden":
        return explain_fault(fault)
    *tables, key = fault["loc"]
    model: Any = LineConfig
    for name in tables:
        model = getattr(model.model_fields.get(str(name)), "annotation", None)
        if not hasattr(model, "model_fields"):
            return f"there is no key {key}"
    keys = [name for name in model.model_fields if name != "folder"]
    return f"there is no key {key}; there are {', '.join(keys)}"


def _from_here(key: str, value: Any) -> Any:
    """A path given outside of the file is relative to where the command runs, not to the file."""
    if isinstance(value, dict):
        return {inner: _from_here(f"{key}.{inner}", one) for inner, one in value.items()}
    if not isinstance(value, str | Path):
        return value
    if key in ("bundle", "cache_dir", "source.ca_file", "source.state") or (
        key.startswith("sinks.") and key.rsplit(".", maxsplit=1)[-1] in _SINK_PATHS
    ):
        return Path(value).absolute()
    return source_in(Path.cwd(), str(value)) if key == "source.uri" else value


def line_of(text: str, keys: list[str]) -> int | None:
    """The line that sets a key, or the header of the innermost table that is there; None when there is neither."""
    table: list[str] = []
    best: tuple[int, int] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\[?([^\]]+)\]", line)
        assigned = re.match(r"\s*([A-Za-z0-9_.\"'\- ]+?)\s*=", line)
        if header:
            table = path = _names(header[1])
        elif assigned:
            path = table + _names(assigned[1])
        else:
            continue
        if path == keys[: len(path)] and (best is None or len(path) > best[0]):
            best = (len(path), number)
    return best[1] if best else None


def _names(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]
