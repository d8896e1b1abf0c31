"""The sinks that a line's configuration can name: what a table becomes, and how it is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from ..errors import ConfigError
from ..place_lock import PlaceLock
from ..validation import no_such
from ..verdict import Verdict
from .archive import ArchiveSink
from .base import LineSink, Sink, SinkContext, SinkSettings
from .http.sink import HttpSink
from .jsonl import JsonlSink
from .modbus import ModbusSink
from .mqtt import MqttSink
from .places import written_places
from .sqlite import SqliteSink
from .video import VideoSegmentSink, VideoSink
from .webhook import WebhookSink
from .worker import SinkGroup, SinkWorker

__all__ = ["SINKS", "SinkMaker", "open_sinks", "read_table"]

SinkMaker = Callable[[SinkContext], Sink]

SINKS: dict[str, type[LineSink]] = {
    "archive": ArchiveSink,
    "http": HttpSink,
    "jsonl": JsonlSink,
    "modbus": ModbusSink,
    "mqtt": MqttSink,
    "sqlite": SqliteSink,
    "video": VideoSegmentSink,
    "video_file": VideoSink,
    "webhook": WebhookSink,
}
"""``[sinks.<kind>]``, or ``[sinks.<name>]`` with ``kind = "<kind>"``, holds the keys of the sink's ``Settings``."""


def read_table(name: str, table: Any) -> SinkSettings:
    """The settings of ``[sinks.<name>]``; nothing is opened.

    Args:
        name: of the table, which is its kind unless the table says another.
        table: plain values as TOML has them, or settings made in Python.

    Raises:
        ValueError: there is no such sink; a pydantic ``ValidationError`` when its keys or values are wrong.
    """
    if isinstance(table, SinkSettings):
        return table if table.kind else table.model_copy(update={"kind": _kind_of(table)})
    if not isinstance(table, dict):
        raise ValueError("a sink is a table")
    kind = table.get("kind", name)
    if not isinstance(kind, str) or kind not in SINKS:
        raise ValueError(no_such("sink", str(kind), sorted(SINKS)))
    return SINKS[kind].Settings.model_validate({**table, "kind": kind})


def _kind_of(settings: SinkSettings) -> str:
    return next(kind for kind, sink in SINKS.items() if sink.Settings is type(settings))


def open_sinks(
    settings: Mapping[str, SinkSettings], context: SinkContext, more: Mapping[str, Sink | SinkMaker] | None = None
) -> SinkGroup:
    """Open the sinks of a line, each behind a queue of its own.

    Args:
        settings: by the sink's name, as ``read_table`` gives them.
        context: what the line tells its sinks.
        more: sinks that a program made itself, or makes from what a line tells its sinks, by name; closed like the
            others.

    Raises:
        ConfigError: one of them cannot start; those already open are closed.
    """
    workers: dict[str, SinkWorker] = {}
    try:
        for name, table in settings.items():
            workers[name] = _open(name, table, context)
        for name, given in (more or {}).items():
            sink = given(context) if callable(given) else given
            own = SinkSettings(verdicts=getattr(sink, "verdicts", tuple(Verdict)))
            workers[name] = _behind_queue(name, sink, own, context)
    except BaseException:
        SinkGroup(workers).close()
        raise
    return SinkGroup(workers)


def _open(name: str, settings: SinkSettings, context: SinkContext) -> SinkWorker:
    with ExitStack() as held:
        try:
            for place in written_places(settings, context.folder):
                held.enter_context(PlaceLock(place, context.status.name))
            sink = SINKS[settings.kind or name].from_settings(settings, context)
        except OSError as error:
            raise ConfigError(f"The sink {name} cannot start ({error}); correct its place in [sinks.{name}].") from None
        # Held until the sink is closed: one that hangs may still write.
        return _behind_queue(name, sink, settings, context, held.pop_all().close)


def _behind_queue(
    name: str, sink: Sink, settings: SinkSettings, context: SinkContext, on_closed: Callable[[], None] = lambda: None
) -> SinkWorker:
    pictures, wait = getattr(sink, "pictures", True), not context.live
    return SinkWorker(name, sink, settings, pictures=pictures, wait=wait, status=context.status, on_closed=on_closed)
