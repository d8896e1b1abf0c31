"""Where a line keeps, over a restart, which pictures of a watched folder it has inspected."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from ..errors import ConfigError
from ..place_lock import PlaceLock
from ..sinks.places import check_writable
from ..sources import is_watched
from .config import LineConfig

__all__ = ["check_watch_state", "watch_state"]

_LOG = logging.getLogger(__name__)


def watch_state(config: LineConfig, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The state file of a line; None where nothing is watched, or where there is no place for one.

    As ``source.state`` says; else under the line's name in the folder that systemd keeps for it, or beside the line's
    file. A line without a file has none.
    """
    if not is_watched(config.source.uri):
        return None
    if config.source.state is not None:
        return config.folder / config.source.state
    # systemd may name several, with colons between.
    folder = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if not folder and config.folder == Path():
        return None
    name = re.sub(r"\W+", "-", config.name).strip("-").lower() or "line"
    place = Path(folder or config.folder) / f"{name}.watched.db"
    try:
        check_writable(place)
    except ConfigError as error:
        _LOG.warning(
            "%s Pictures that come while this line is down are not inspected; or set state in [source].", error
        )
        return None
    return place


def check_watch_state(config: LineConfig) -> list[str]:
    """What a running line explains and another one would stumble over, each in a sentence.

    Raises:
        ConfigError: the file that ``source.state`` names could not be written.
    """
    place = watch_state(config)
    if place is None:
        return []
    try:
        check_writable(place)
    except ConfigError as error:
        raise ConfigError(f"[source] state: {error}") from None
    who = PlaceLock.holder(place)
    return [] if who is None else [f"{place} is in use by {who}; a second line there is refused."]
