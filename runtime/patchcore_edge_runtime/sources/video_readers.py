"""Recordings, frame by frame: through OpenCV, or through PyAV, whose decoder says when it conceals damage."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import cv2
from numpy.typing import NDArray

from ..errors import FrameError, SourceError
from ..images.size_limit import most_pixels, video_fault
from ..opencv_check import opencv_name
from ..path_text import path_text

__all__ = ["AvReader", "OpenCvReader", "VideoReader", "open_reader"]

_LOG = logging.getLogger(__name__)

# How a phone was held: degrees counterclockwise, which OpenCV turns by too.
_HELD = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


_PADDING = 1 << 20
"""Pixels that codecs may add at the sides of a frame."""


class VideoReader(Protocol):
    """An open recording.

    Attributes:
        fps: frames per second; 0 where that is not known.
        frames: how many it says there are, counted or estimated; 0 where it says nothing.
        seconds: at which the last frame is shown.
    """

    fps: float
    frames: float
    seconds: float

    def read(self) -> NDArray[Any] | None:
        """The next frame, HxWx3 uint8 BGR; None at the end. Raises ``FrameError`` for one that is damaged."""

    def close(self) -> None:
        """Close the file."""


def open_reader(path: Path) -> VideoReader:
    """Open a recording, through PyAV where it is installed (the extra ``video``).

    Raises:
        SourceError: it cannot be opened.
    """
    try:
        import av  # noqa: F401
    except ImportError:
        _LOG.warning(
            "%s is read by OpenCV, which shows damaged pictures as if they were whole and scales those of another size "
            "to that of the first; install PyAV to have both told: pip install 'patchcore-edge-runtime[video]'.",
            path_text(path),
        )
        return OpenCvReader(path)
    return AvReader(path)


def _cannot_open(path: Path) -> SourceError:
    return SourceError(f"{path} cannot be opened; check that it is a video, and that it was recorded to its end.")


class OpenCvReader:
    """Through OpenCV, which shows a damaged picture as a whole one, and one of another size in that of the first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._capture = cv2.VideoCapture(opencv_name(path))
        if not self._capture.isOpened():
            raise _cannot_open(path)
        facts = (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
        height, width = (round(self._capture.get(fact)) for fact in facts)
        if fault := video_fault(height, width):
            self._capture.release()
            raise SourceError(f"{path} {fault}")
        self.fps = max(0.0, float(self._capture.get(cv2.CAP_PROP_FPS)))
        self.frames = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.seconds = 0.0

    def read(self) -> NDArray[Any] | None:
        """The next frame."""
        try:
            more, image = self._capture.read()
        except cv2.error:  # before 4.13 at a picture of another size
            raise FrameError(f"{self._path} cannot be decoded here; record it again.") from None
        self.seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        return image if more else None

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class AvReader:
    """Through PyAV: FFmpeg's decoder is asked to give up a damaged picture (``err_detect=explode``).

    What follows a damaged picture was predicted from it, up to the next key frame; none of it is to be judged. Decoders
    of H.264, MPEG-4 and motion JPEG notice damage; those of HEVC, VP9 and AV1 mostly do not.
    """

    def __init__(self, path: Path) -> None:
        import av

        self._path = path
        try:
            # No other protocol: a playlist must not make it ask the network.
            only_files = {"protocol_whitelist": "file"}
            self._container = av.open(str(path), options=only_files, metadata_errors="replace")
            stream = self._container.streams.video[0]
        except (av.FFmpegError, OSError, IndexError, ValueError):
            raise _cannot_open(path) from None
        if fault := video_fault(stream.codec_context.height, stream.codec_context.width):
            self._container.close()
            raise SourceError(f"{path} {fault}")
        # Frames decoded side by side would be given before the damage of one among them is known.
        stream.thread_type = "SLICE"
        # The size that was looked at above is that of the beginning; a frame may come with another one.
        stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(most_pixels() + _PADDING)}
        self.fps = float(stream.average_rate or 0)
        length = (self._container.duration or 0) / 1e6
        self.frames = float(stream.frames or length * self.fps)
        self.seconds = 0.0
        self._faults = (av.FFmpegError, OSError)
        self._frames = self._decoded(stream)

    def read(self) -> NDArray[Any] | None:
        """The next frame."""
        found = next(self._frames, None)
        if found is None:
            return None
        if isinstance(found, str):
            raise FrameError(f"{self._path} is damaged here ({found}); record it again.")
        return found

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _decoded(self, stream: Any) -> Iterator[NDArray[Any] | str]:
        """Each picture, or why there is none."""
        damaged, corrupt = False, set[int | None]()
        packets = self._container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except self._faults:
                return  # what is missing is counted
            if packet.is_corrupt:
                # Of a transport stream, which does not say how many frames it holds, its own numbers tell a gap.
                damaged = True
                corrupt.add(packet.pts)
                yield "data are missing"
            try:
                frames = packet.decode()
            except self._faults as error:
                damaged = True
                yield getattr(error, "strerror", None) or "it cannot be decoded"
                continue
            for frame in frames:
                damaged = frame.is_corrupt or frame.pts in corrupt or (damaged and not frame.key_frame)
                self.seconds = frame.time or 0.0
                if damaged:
                    yield "the picture, or one that it was made from"
                else:
                    image = frame.to_ndarray(format="bgr24")
                    held = _HELD.get(frame.rotation % 360)
                    yield image if held is None else cv2.rotate(image, held)
