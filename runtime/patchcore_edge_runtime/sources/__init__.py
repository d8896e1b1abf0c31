"""Where frames come from; all sources speak the protocol of ``base``, and ``registry`` knows what ``-s`` may name."""

from ..images.files import IMAGE_SUFFIXES, image_files, read_image
from .base import Frame, Source
from .files import ImageSource
from .iterable import IterableSource
from .live import Capture, LiveSource
from .registry import is_live, is_watched, misplaced_settings, open_source, source_in
from .settings import LiveSettings
from .tls import Trust
from .video import VideoSource
from .watch import WatchedFolder

__all__ = [
    "IMAGE_SUFFIXES",
    "Capture",
    "Frame",
    "ImageSource",
    "IterableSource",
    "LiveSettings",
    "LiveSource",
    "Source",
    "Trust",
    "VideoSource",
    "WatchedFolder",
    "image_files",
    "is_live",
    "is_watched",
    "misplaced_settings",
    "open_source",
    "read_image",
    "source_in",
]
