"""Files of video: which codec, written by what.

By default one that browsers play: H.264, VP9 or AV1, whichever can be written first, and MPEG-4 where none can. PyAV
(the extra ``video``) writes H.264 quickly; OpenCV's own build has mostly VP9 only, and lets nobody choose its speed.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..images.preprocess import Image
from ..logs import OPENCV_SILENT, opencv_log
from ..opencv_check import opencv_name

__all__ = ["CONTAINERS", "MakeWriter", "VideoWriter", "choose_writer", "forget_choices"]

_LOG = logging.getLogger(__name__)
CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
_PLAYED = ("avc1", "vp09", "av01")
_CODECS = {".webm": ("vp09", "av01"), ".avi": ("mp4v",)}
# What PyAV calls them, and how they keep up with a line.
_ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    "avc1": ("libx264", {"preset": "superfast", "crf": "23"}),
    "vp09": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "row-mt": "1"}),
    "av01": ("libsvtav1", {"preset": "10"}),
    "mp4v": ("mpeg4", {"q": "5"}),
}
# Those that keep an odd number of rows or columns.
_ODD = frozenset({"vp09"})
_MOV = (".mp4", ".m4v", ".mov")
# Each second can be played by itself until the end is written, which makes an ordinary file of all: what a killed
# process, a power failure or a full disk leaves is no file without its index.
_IN_PIECES = {"movflags": "+frag_keyframe+hybrid_fragmented", "frag_duration": "1000000", "flush_packets": "1"}
_TRIED_SIDE, _TRIED_BYTES = 64, 1 << 20
_MAX_RATE_DENOMINATOR = 1001
# OpenCV takes up to a second for a frame of them: no line waits for that unless it was told to.
_SLOW_BY_OPENCV = frozenset({"vp09", "av01"})
_SLOW = (
    "OpenCV takes up to a second to write a frame of this codec; pip install 'patchcore-edge-runtime[video]' writes "
    "quickly, as does codec = 'mp4v' in an .mp4, which browsers do not play."
)
_UNPLAYED = (
    "Video is written as MPEG-4 part 2, which players show and browsers do not; pip install "
    "'patchcore-edge-runtime[video]' writes what they show."
)


class VideoWriter(Protocol):
    """A file of video being written."""

    def write(self, picture: Image) -> None:
        """Append a picture, HxWx3 uint8 BGR, all of them of one size."""

    def release(self) -> None:
        """Finish the file."""


MakeWriter = Callable[[Path, float, tuple[int, int]], VideoWriter]
"""From the path, frames per second, and width and height; raises ``ConfigError`` where it cannot be written."""


def choose_writer(suffix: str, codec: str | None) -> MakeWriter:
    """What writes files of that suffix, tried out once on a small one.

    Args:
        suffix: one of ``CONTAINERS``.
        codec: its four characters; the first that can be written of those that browsers play unless told.

    Raises:
        ConfigError: this machine cannot write it.
    """
    return _chosen(suffix.lower(), codec)


def forget_choices() -> None:
    """Try codecs out anew, after something was installed."""
    _chosen.cache_clear()


@lru_cache
def _chosen(suffix: str, codec: str | None) -> MakeWriter:
    names = _CODECS.get(suffix, (*_PLAYED, "mp4v")) if codec is None else (codec,)
    asked = codec is not None or suffix in _CODECS
    for name in names:
        slow = name in _SLOW_BY_OPENCV
        makers = (_by_pyav(name),) if slow and not asked else (_by_pyav(name), _by_opencv(name))
        for make in makers:
            if _works(make, suffix):
                if slow and make is _by_opencv(name):
                    _LOG.warning(_SLOW)
                elif name == "mp4v" and not asked:
                    _LOG.warning(_UNPLAYED)
                return make
    raise ConfigError(f"Nothing on this machine writes {' or '.join(names)} into {suffix}; choose another codec.")


def _works(make: MakeWriter, suffix: str) -> bool:
    with tempfile.TemporaryDirectory(dir=_scratch()) as folder, _quiet():
        path = Path(folder) / f"try{suffix}"
        try:
            writer = make(path, 10.0, (_TRIED_SIDE, _TRIED_SIDE))
            writer.write(np.zeros((_TRIED_SIDE, _TRIED_SIDE, 3), np.uint8))
            writer.release()
        except ConfigError:
            return False
        return path.is_file() and path.stat().st_size > 0


def _scratch() -> str | None:
    """A folder for what is tried out: the usual one, or one in memory where that is full; a codec is none the worse."""
    for place in (None, "/dev/shm"):  # noqa: S108 - made there under a name of their own, as in the usual one
        with suppress(OSError):
            if shutil.disk_usage(place or tempfile.gettempdir()).free >= _TRIED_BYTES:
                return place
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what FFmpeg says, past Python, of codecs that it lacks; what others say meanwhile comes after."""
    log = opencv_log(cv2)
    level = log.getLogLevel()
    log.setLogLevel(OPENCV_SILENT)
    try:
        kept = os.dup(2)
    except OSError:
        kept = -1
    try:
        with tempfile.TemporaryFile(dir=_scratch()) as heard:
            if kept >= 0:
                sys.stderr.flush()
                os.dup2(heard.fileno(), 2)
            try:
                yield
            finally:
                if kept >= 0:
                    sys.stderr.flush()
                    os.dup2(kept, 2)
            heard.seek(0)
            others = [line for line in heard if not line.startswith((b"[", b"OpenCV:", b"x264", b"Svt"))]
            if kept >= 0 and others:
                os.write(2, b"".join(others))
    finally:
        if kept >= 0:
            os.close(kept)
        log.setLogLevel(level)


def _cannot(path: Path, why: object = "") -> ConfigError:
    reason = f" ({why})" if why else ""
    return ConfigError(f"{path} cannot be written as video{reason}; choose another place or another codec.")


@lru_cache
def _by_opencv(codec: str) -> MakeWriter:
    return lambda path, fps, size: _OpenCvWriter(path, fps, size, codec)


@lru_cache
def _by_pyav(codec: str) -> MakeWriter:
    return lambda path, fps, size: _AvWriter(path, fps, size, codec)


def _padded(picture: Image, even: bool) -> Image:
    """With the last row and column twice where a codec takes even numbers only: nothing is cut away."""
    down, right = picture.shape[0] % 2, picture.shape[1] % 2
    if not even or not (down or right):
        return picture
    padded: NDArray[Any] = cv2.copyMakeBorder(picture, 0, down, 0, right, cv2.BORDER_REPLICATE)
    return padded.astype(np.uint8, copy=False)


class _OpenCvWriter:
    """OpenCV cuts odd sizes to even ones, whatever the codec; so they are padded."""

    def __init__(self, path: Path, fps: float, size: tuple[int, int], codec: str) -> None:
        width, height = (side + side % 2 for side in size)
        self._writer = cv2.VideoWriter(opencv_name(path), cv2.VideoWriter.fourcc(*codec), fps, (width, height))
        if not self._writer.isOpened():
            raise _cannot(path)

    def write(self, picture: Image) -> None:
        """Append a picture."""
        self._writer.write(_padded(picture, even=True))

    def release(self) -> None:
        """Finish the file."""
        self._writer.release()


class _AvWriter:
    """PyAV; raises ``ConfigError`` where it is not installed or lacks the encoder."""

    def __init__(self, path: Path, fps: float, size: tuple[int, int], codec: str) -> None:
        try:
            import av
        except ImportError:
            raise _cannot(path, "PyAV is not installed") from None
        if codec not in _ENCODERS:
            raise _cannot(path, f"PyAV is not asked for {codec}")
        encoder, options = _ENCODERS[codec]
        self._path, self._even, self._faults = path, codec not in _ODD, (av.FFmpegError, OSError, ValueError)
        width, height = (side + side % 2 if self._even else side for side in size)
        self._new_frame = av.VideoFrame.from_ndarray
        rate = Fraction(fps).limit_denominator(_MAX_RATE_DENOMINATOR)

        def begin(container: dict[str, str]) -> None:
            self._file = av.open(str(path), "w", options=container)
            stream: Any = self._file.add_stream(encoder, rate=rate, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            self._stream = stream
            # Now, and not with the encoder's first output: who looks for the file finds it.
            self._file.start_encoding()

        try:
            try:
                begin(_IN_PIECES if path.suffix.lower() in _MOV else {})
            except ValueError:  # FFmpeg before 7.1, which has no such files
                begin({})
        except self._faults as error:
            raise _cannot(path, error) from None

    def write(self, picture: Image) -> None:
        """Append a picture."""
        pixels = np.ascontiguousarray(_padded(picture, self._even))
        if pixels.shape[0] % 2 or pixels.shape[1] % 2:
            self._encode(self._new_frame(pixels, format="bgr24"))
        else:
            # In a quarter of the time that FFmpeg takes; OpenCV knows it for even sides alone.
            planes = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2YUV_I420), np.uint8)
            self._encode(self._new_frame(planes, format="yuv420p"))

    def release(self) -> None:
        """Finish the file."""
        try:
            self._encode(None)
        finally:
            try:
                self._file.close()
            except self._faults as error:
                raise _cannot(self._path, error) from None

    def _encode(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._file.mux(packet)
        except self._faults as error:
            raise _cannot(self._path, error) from None
