"""Where frames come from; all sources speak the protocol of ``base``, and ``registry`` knows what ``-s`` may name."""

from ..images.files import IMAGE_SUFFIXES, image_files, read_image
from .base import Frame, Source
from .files import ImageSource
from .iterable import IterableSource
from .live import Capture, LiveSettings, LiveSource
from .registry import is_live, open_source, source_in
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
    "VideoSource",
    "WatchedFolder",
    "image_files",
    "is_live",
    "open_source",
    "read_image",
    "source_in",
]
