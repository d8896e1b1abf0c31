"""``line.toml``: one file that describes a line, checked before anything is started.

What is said on the command line wins over the environment, and the environment over the file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, ValidationError, model_validator

from .debounce import DebounceRule
from .errors import ConfigError
from .graph import Hint
from .regions import IgnoreMask
from .result import Roi
from .rules import LineRules
from .sinks import SINKS, SinkSettings
from .sources import LiveSettings, Source, is_live, open_source
from .triggers import IntervalSource, TriggeredSource
from .verdict import Thresholds

__all__ = ["ENVIRONMENT_PREFIX", "LineConfig", "ThresholdOverrides", "load_line", "read_environment"]

ENVIRONMENT_PREFIX = "PATCHCORE_EDGE_"
"""``PATCHCORE_EDGE_BUNDLE`` is the key ``bundle``, ``PATCHCORE_EDGE_SOURCE__READ_TIMEOUT`` is ``source.read_timeout``."""

_MAX_BYTES = 1 << 20


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceTable(LiveSettings):
    """``[source]``: ``uri`` is what ``-s`` takes; the rest is for cameras and streams."""

    uri: str = Field(min_length=1)


class ThresholdOverrides(_Table):
    """``[thresholds]``: raw scores in place of the bundle's; what is left out stays."""

    image: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    pixel: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    warn: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    def apply(self, thresholds: Thresholds) -> Thresholds:
        """The thresholds to judge by.

        Raises:
            ConfigError: the WARN limit is not below the NG limit.
        """
        try:
            return Thresholds.model_validate({**thresholds.model_dump(), **self.model_dump(exclude_none=True)})
        except ValidationError as error:
            raise ConfigError(f"The thresholds do not go together: {_text(error.errors()[0])}.") from None


class InspectTable(_Table):
    """``[inspect]``: which part of the frame counts, and how verdicts of frames make verdicts of parts."""

    roi: Roi | None = None
    ignore: tuple[tuple[tuple[float, float], ...], ...] = ()
    min_defect_area: NonNegativeFloat = 0.0
    sanity: bool = True
    debounce: DebounceRule | None = None

    @model_validator(mode="after")
    def _check(self) -> InspectTable:
        if self.roi is not None and (min(self.roi[:2]) < 0 or min(self.roi[2:]) < 1):
            raise ValueError("roi is x, y, width, height in pixels")
        try:
            IgnoreMask(self.ignore)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self


class TriggerTable(_Table):
    """``[trigger]``: every frame (``free``), every ``every_ms`` (``interval``) or when asked (``software``)."""

    mode: Literal["free", "interval", "software"] = "free"
    every_ms: PositiveFloat | None = None

    @model_validator(mode="after")
    def _check(self) -> TriggerTable:
        if (self.mode == "interval") != (self.every_ms is not None):
            raise ValueError("every_ms goes with mode = 'interval', and only with it")
        return self


class LineConfig(_Table):
    """A line: what is inspected, by which bundle, on which device, and where the results go.

    Attributes:
        name: what people call it.
        bundle: folder that ``patchcore-edge export`` wrote; watched for a change while the line runs when ``hot_swap``.
        sinks: the tables ``[sinks.<name>]``.
        sink_settings: the same, as the sinks' own settings.
        folder: what relative paths are relative to: where the file lies.
    """

    name: str = Field(default="line", min_length=1, max_length=80)
    bundle: Path
    device: str = Field(default="CPU", min_length=1)
    hint: Hint = "latency"
    cache_dir: Path | None = None
    hot_swap: bool = False
    source: SourceTable
    thresholds: ThresholdOverrides = ThresholdOverrides()
    inspect: InspectTable = InspectTable()
    trigger: TriggerTable = TriggerTable()
    sinks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    folder: Path = Field(default_factory=Path, exclude=True)
    sink_settings: dict[str, SinkSettings] = Field(default_factory=dict, exclude=True)

    @model_validator(mode="after")
    def _check(self) -> LineConfig:
        if self.trigger.mode == "interval" and not is_live(self.source.uri):
            raise ValueError("trigger.mode = 'interval' needs a camera or a stream; of files every frame is inspected")
        return self

    def rules(self, bundle: Thresholds) -> LineRules:
        """What the line asks for, on top of a bundle's thresholds."""
        return LineRules(
            roi=self.inspect.roi,
            ignore=IgnoreMask(self.inspect.ignore) if self.inspect.ignore else None,
            min_defect_area=self.inspect.min_defect_area,
            thresholds=self.thresholds.apply(bundle),
            check_sanity=self.inspect.sanity,
        )

    def open_source(self) -> Source:
        """The source behind its trigger; raises ``SourceError``."""
        uri = self.source.uri
        if not is_live(uri):
            watched = uri.startswith("watch:")
            path = self.folder / uri.removeprefix("watch:")
            uri = f"watch:{path}" if watched else str(path)
        source = open_source(uri, self.source)
        if self.trigger.mode == "interval":
            assert self.trigger.every_ms is not None
            return IntervalSource(source, self.trigger.every_ms)
        return TriggeredSource(source) if self.trigger.mode == "software" else source


def load_line(file: Path | None, overrides: Mapping[str, Any], environment: Mapping[str, str]) -> LineConfig:
    """Read and check a line.

    Args:
        file: ``line.toml``; without one the overrides and the environment must say it all.
        overrides: of the command line: dotted key → value; None for what was not given.
        environment: as ``os.environ``.

    Raises:
        ConfigError: the file is missing or not TOML, or values are wrong; says line and key of each.
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
    document["folder"] = file.resolve().parent if file is not None else Path()
    origins = _Origins(file, text, origin)
    try:
        config = LineConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(origins.explain(error)) from None
    return config.model_copy(update={"sink_settings": _sink_settings(config, origins)})


def read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings in the environment: dotted key → value, read as TOML where it is that and as text otherwise."""
    found = {}
    for name, text in environment.items():
        key = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
        # Others may use the prefix; only the names of settings are ours.
        if (
            name.startswith(ENVIRONMENT_PREFIX)
            and key.split(".")[0] in LineConfig.model_fields
            and key not in ("folder", "sink_settings")
        ):
            found[key] = _toml_value(text)
    return found


def _toml_value(text: str) -> Any:
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
        raise ConfigError(f"{file} cannot be read ({error.strerror}); give the line's TOML file.") from None
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

    def explain(self, error: ValidationError, *prefix: str) -> str:
        """All that is wrong, each with its place."""
        return "; ".join(f"{self.place([*prefix, *fault['loc']])}: {_text(fault)}" for fault in error.errors())

    def place(self, keys: Sequence[str | int]) -> str:
        """Line and key in the file, or the option or the environment variable that said it."""
        dotted = ".".join(str(key) for key in keys)
        for key, place in self.outside.items():
            if dotted == key or dotted.startswith(key + "."):
                return place
        number = line_of(self.text, [str(key) for key in keys])
        where = str(self.file or "settings") if number is None else f"{self.file}, line {number}"
        return f"{where}, {dotted}" if dotted else where


def _sink_settings(config: LineConfig, origins: _Origins) -> dict[str, SinkSettings]:
    settings = {}
    for name, table in config.sinks.items():
        if name not in SINKS:
            where = origins.place(["sinks", name])
            raise ConfigError(f"{where}: there is no such sink; there are {', '.join(sorted(SINKS))}.")
        try:
            settings[name] = SINKS[name].Settings.model_validate(table)
        except ValidationError as error:
            raise ConfigError(origins.explain(error, "sinks", name)) from None
    return settings


def _from_here(key: str, value: Any) -> Any:
    """A path given outside of the file is relative to where the command runs, not to the file."""
    if key in ("bundle", "cache_dir"):
        return Path(value).absolute()
    if key == "source.uri" and not is_live(str(value)):
        watch, path = ("watch:", str(value)[6:]) if str(value).startswith("watch:") else ("", str(value))
        return f"{watch}{Path(path).absolute()}"
    return value


def _text(fault: Any) -> str:
    return str(fault["msg"]).removeprefix("Value error, ")


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
