"""Environment variables that look like settings of a line and are none: a misspelt one must not be passed over."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from ..errors import ConfigError
from ..sinks import SINKS
from .config import LineConfig
from .heartbeat import HEARTBEAT_VARIABLE

__all__ = ["ENVIRONMENT_PREFIX", "check_names", "setting_names"]

_LOG = logging.getLogger(__name__)

ENVIRONMENT_PREFIX = "PATCHCORE_EDGE_"
"""``PATCHCORE_EDGE_BUNDLE`` is the key ``bundle``; ``PATCHCORE_EDGE_SOURCE__WAIT`` is ``source.wait``."""

_OTHERS = frozenset({f"{ENVIRONMENT_PREFIX}WEIGHTS", f"{ENVIRONMENT_PREFIX}TRACEBACK", HEARTBEAT_VARIABLE})
"""Of the host, of all commands, and of who watches a line."""
_NEAR, _NEAR_PREFIX = 0.75, 0.85
_BEGINNING = "PATCH"


def setting_names() -> list[str]:
    """Names of the environment variables that a line knows, sinks by the names of their kinds."""
    names = [*_names(LineConfig, ""), *(name for kind, sink in SINKS.items() for name in _sink_names(kind, sink))]
    return [f"{ENVIRONMENT_PREFIX}{name}" for name in names]


def check_names(environment: Mapping[str, str], document: Mapping[str, Any]) -> None:
    """Refuse a variable whose name is nearly that of a setting; one that only has our prefix is said in the log.

    Args:
        environment: as ``os.environ``.
        document: the line's file, which may name variables that hold secrets.

    Raises:
        ConfigError: a name is misspelt; says what is meant.
    """
    secrets = set(_secrets(document))
    for name in sorted(environment):
        if not name.upper().startswith(_BEGINNING) or _is_known(name) or name in _OTHERS or name in secrets:
            continue
        ours = name.startswith(ENVIRONMENT_PREFIX)
        near = get_close_matches(name.upper(), setting_names(), 1, _NEAR_PREFIX)
        if ours and not near:
            stem = name.removeprefix(ENVIRONMENT_PREFIX).upper()
            shorter = [known.removeprefix(ENVIRONMENT_PREFIX) for known in setting_names()]
            near = [f"{ENVIRONMENT_PREFIX}{one}" for one in get_close_matches(stem, shorter, 1, _NEAR)]
        if near:
            raise ConfigError(f"The environment variable {name} is no setting; write {near[0]}, or take it away.")
        if ours:
            _LOG.warning("The environment variable %s is no setting of a line and is not looked at.", name)


def _is_known(name: str) -> bool:
    """Whether it sets a key, or one in a table: what is wrong there is said with its place."""
    first = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")[0]
    return name.startswith(ENVIRONMENT_PREFIX) and first in LineConfig.model_fields and first != "folder"


def _names(model: type[BaseModel], table: str) -> Iterator[str]:
    for key, field in model.model_fields.items():
        name = f"{table}{key.upper()}"
        if key != "folder" or table:
            yield name
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _names(kind, f"{name}__")


def _sink_names(kind: str, sink: Any) -> Iterator[str]:
    return _names(sink.Settings, f"SINKS__{kind.upper()}__")


def _secrets(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for key, value in document.items():
            if str(key).endswith("_env") and isinstance(value, str):
                yield value
            yield from _secrets(value)
