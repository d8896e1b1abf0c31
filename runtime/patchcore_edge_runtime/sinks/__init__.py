"""Where results go; all sinks speak the protocol of ``base``."""

from .base import Record, Sink
from .images import NgImageSink, OverlaySink
from .jsonl import JsonlSink
from .video import VideoSink

__all__ = ["JsonlSink", "NgImageSink", "OverlaySink", "Record", "Sink", "VideoSink"]
