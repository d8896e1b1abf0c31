"""Where results go; all sinks speak the protocol of ``base``."""

from .archive import ArchiveSink, OverlaySink
from .base import LineSink, Record, Sink, SinkContext, SinkSettings
from .http.sink import HttpSink
from .jsonl import JsonlSink
from .modbus import ModbusSink
from .mqtt import MqttSink
from .sqlite import SqliteSink
from .video import VideoSegmentSink, VideoSink
from .webhook import WebhookSink
from .worker import SinkGroup, SinkWorker, open_sinks

SINKS: dict[str, type[LineSink]] = {
    "archive": ArchiveSink,
    "http": HttpSink,
    "jsonl": JsonlSink,
    "modbus": ModbusSink,
    "mqtt": MqttSink,
    "sqlite": SqliteSink,
    "video": VideoSegmentSink,
    "webhook": WebhookSink,
}
"""The sinks that a line's configuration can name: ``[sinks.<name>]`` holds the keys of the sink's ``Settings``."""

__all__ = [
    "SINKS",
    "ArchiveSink",
    "HttpSink",
    "JsonlSink",
    "LineSink",
    "ModbusSink",
    "MqttSink",
    "OverlaySink",
    "Record",
    "Sink",
    "SinkContext",
    "SinkGroup",
    "SinkSettings",
    "SinkWorker",
    "SqliteSink",
    "VideoSegmentSink",
    "VideoSink",
    "WebhookSink",
    "open_sinks",
]
