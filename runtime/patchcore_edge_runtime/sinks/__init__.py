"""Where results go; all sinks speak the protocol of ``base``."""

from ..display.record import Record
from .archive import ArchiveSink, OverlaySink
from .base import LineSink, Sink, SinkContext, SinkSettings
from .http.sink import HttpSink
from .jsonl import JsonlSink
from .modbus import ModbusSink
from .mqtt import MqttSink
from .registry import SINKS, open_sinks
from .sqlite import SqliteSink
from .video import VideoSegmentSink, VideoSink
from .webhook import WebhookSink
from .worker import SinkGroup, SinkWorker

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
