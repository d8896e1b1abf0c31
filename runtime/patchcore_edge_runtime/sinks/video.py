"""The annotated video, as one file or in pieces of a few minutes."""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, ClassVar

import cv2
import numpy as np
from pydantic import Field, PositiveFloat, StringConstraints, field_validator

from ..display.record import Record
from ..errors import ConfigError, cannot_write
from ..system import is_at
from .base import SinkContext, SinkSettings, make_folder
from .budget import ByteBudget
from .video_writer import CONTAINERS, VideoWriter, choose_writer

__all__ = ["VideoFileSettings", "VideoSegmentSink", "VideoSettings", "VideoSink"]

_LOG = logging.getLogger(__name__)
_DEFAULT_FPS = 10.0
_SEGMENT = re.compile(r"(\d{8}T\d{6}Z(?:\.\d+)?)\.mp4")
# OpenCV says nothing when the disk is full, so stop before it is.
_MIN_FREE_BYTES = 16 << 20

Codec = Annotated[str, StringConstraints(pattern=r"^[!-~]{4}$")]
"""Four characters, such as ``avc1``, ``vp09``, ``av01`` or ``mp4v``."""


class VideoFileSettings(SinkSettings):
    """``[sinks.video_file]``: the one file ``path``; that of an earlier start is kept as ``path`` with a number.

    Attributes:
        path: file to write, such as ``line.mp4``.
        fps: of the recording; the source's, or else 10, when absent.
        codec: four characters: ``avc1``, ``vp09``, ``av01``, ``mp4v``.
    """

    path: Path
    fps: PositiveFloat | None = Field(default=None, le=1000)
    codec: Codec | None = None

    @field_validator("path")
    @classmethod
    def _check(cls, path: Path) -> Path:
        if path.suffix.lower() not in CONTAINERS:
            raise ValueError(f"{path} is no video; give a path that ends in .mp4")
        return path


class VideoSink:
    """Writes the overlay of every frame; frames of another size are scaled to the first one's.

    Args:
        path: file to write, such as ``line.mp4``.
        fps: frames per second of the recording; 10 where the source does not know.
        codec: its four characters; unless told one that browsers play, where this machine can write one.

    Raises:
        ConfigError: its folder cannot be made, or the codec cannot be written.
    """

    Settings: ClassVar[type[SinkSettings]] = VideoFileSettings
    pictures: ClassVar[bool] = True

    def __init__(self, path: Path, fps: float = 0.0, codec: str | None = None) -> None:
        self._path = path
        self._make = choose_writer(path.suffix, codec)
        self._fps = fps or _DEFAULT_FPS
        self._writer: VideoWriter | None = None
        self._identity: os.stat_result | None = None
        self._size = (0, 0)
        make_folder(path.parent)

    @classmethod
    def from_settings(cls, settings: VideoFileSettings, context: SinkContext) -> VideoSink:
        """Record into the file that the settings name."""
        return cls(context.folder / settings.path, settings.fps or context.fps, settings.codec)

    def write(self, record: Record) -> None:
        """Append one frame."""
        picture = record.overlay
        if self._writer is not None and not self._is_there():
            _LOG.warning("%s was deleted, moved or replaced; a new one is begun there.", self._path)
            self.close()
        make_folder(self._path.parent)
        if shutil.disk_usage(self._path.parent).free < _MIN_FREE_BYTES:
            raise ConfigError(f"The disk of {self._path} is full; make room or choose another place.")
        if self._writer is None:
            self._size = (picture.shape[1], picture.shape[0])
            _keep_earlier(self._path)
            self._writer = self._make(self._path, self._fps, self._size)
            self._identity = self._path.stat() if self._path.exists() else None
        if picture.shape[1::-1] != self._size:
            picture = cv2.resize(picture, self._size).astype(np.uint8, copy=False)
        self._writer.write(picture)

    def close(self) -> None:
        """Write the index that makes the file playable."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.release()

    def _is_there(self) -> bool:
        """Whether the recording is where it was begun; where nothing tells files apart, whether there is one."""
        return self._path.exists() if self._identity is None else is_at(self._path, self._identity)


def _keep_earlier(path: Path) -> None:
    """Give a recording that is there another name: ``line.mp4`` becomes ``line.1.mp4``, a later one ``line.2.mp4``."""
    if not path.exists():
        return
    try:
        path.rename(_free_name(path))
    except OSError as error:
        raise cannot_write(path, error) from None


def _free_name(path: Path) -> Path:
    free, number = path, 0
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}.{number}{path.suffix}")
    return free


class VideoSettings(SinkSettings):
    """``[sinks.video]``: files of ``minutes`` each in ``folder``, the oldest removed beyond ``max_mb`` MiB.

    Attributes:
        folder: of the files.
        minutes: length of one file.
        max_mb: budget in MiB; the oldest file goes first.
        fps: of the recording; the source's, or else 10, when absent.
        codec: four characters: ``avc1``, ``vp09``, ``av01``, ``mp4v``.
    """

    folder: Path
    minutes: PositiveFloat = Field(default=10.0, le=1440)
    max_mb: PositiveFloat = 10_000.0
    fps: PositiveFloat | None = Field(default=None, le=1000)
    codec: Codec | None = None


class VideoSegmentSink:
    """Videos of a few minutes each, named by their start in UTC; a crash costs the last one at most.

    Raises:
        ConfigError: the folder cannot be made, or the codec cannot be written.
    """

    Settings: ClassVar[type[SinkSettings]] = VideoSettings
    pictures: ClassVar[bool] = True

    def __init__(self, folder: Path, fps: float, minutes: float, max_bytes: int, codec: str | None = None) -> None:
        self._folder, self._fps, self._seconds, self._codec = folder, fps, 60 * minutes, codec
        choose_writer(".mp4", codec)
        make_folder(folder)
        self._budget = ByteBudget(folder, _SEGMENT, max_bytes)
        self._path, self._start = folder, 0.0
        self._video: VideoSink | None = None

    @classmethod
    def from_settings(cls, settings: VideoSettings, context: SinkContext) -> VideoSegmentSink:
        """Record into the folder that the settings name."""
        fps = settings.fps or context.fps
        max_bytes = round(settings.max_mb * 2**20)
        return cls(context.folder / settings.folder, fps, settings.minutes, max_bytes, settings.codec)

    def write(self, record: Record) -> None:
        """Append one frame to the segment of this moment."""
        if self._video is not None and time.monotonic() - self._start > self._seconds:
            self.close()
        if self._video is None:
            # A clock that was set back brings the same second again.
            self._path = _free_name(self._folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.mp4")
            self._start = time.monotonic()
            self._video = VideoSink(self._path, self._fps, self._codec)
        self._video.write(record)

    def close(self) -> None:
        """Finish the segment and remove the oldest ones beyond the budget."""
        if self._video is not None:
            self._video.close()
            self._video = None
            if self._path.is_file():
                self._budget.add([self._path])
                self._budget.make_room(0)
