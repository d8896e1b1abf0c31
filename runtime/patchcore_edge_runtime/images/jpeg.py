"""A JPEG's segments: where it ends, and whether it is whole.

A decoder fills in what is missing; a picture that is half made up must not be judged. What cameras put between the
segments and behind the end is another matter: browsers and FFmpeg show such pictures, and they are whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

__all__ = ["SCAN", "START", "JpegWalk", "Segment", "State", "is_jpeg", "jpeg_is_whole", "tail_is_scan", "whole_jpeg"]

START = b"\xff\xd8\xff"
SCAN = 0xDA
_END = 0xD9
# A marker inside of a scan: not a stuffed byte, a restart or a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_FILL = re.compile(rb"[\x00\xff]*")
# What scans are full of: stuffed bytes and restarts.
_SCAN_BYTES = re.compile(rb"\xff[\x00\xd0-\xd7]")
_MIN_SCAN_BYTES = 2


class State(Enum):
    """What is known of a JPEG that comes in byte by byte."""

    MORE = "more"
    WHOLE = "whole"
    BROKEN = "broken"


@dataclass
class Segment:
    """What stands between two markers.

    Attributes:
        kind: the second byte of its marker.
        start, end: of what it says, its length apart.
        data_end: of a scan: one behind its entropy-coded data, which begins at ``end``.
    """

    kind: int
    start: int
    end: int
    data_end: int


class JpegWalk:
    """Goes from segment to segment through a buffer that grows; each byte is looked at once.

    Attributes:
        segments: those that have been passed, in order.
        end: one behind the end marker, once the state is ``WHOLE``.
    """

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.end = 0
        self._at = 2
        self._in_scan = False
        self._scans = 0

    def go_on(self, data: bytes | bytearray) -> State:
        """Walk as far as ``data`` goes; it begins with the start marker, and with what the last call was given."""
        if len(data) < 2:
            return State.MORE
        if bytes(data[:2]) != START[:2]:
            return State.BROKEN
        while True:
            state = self._through_scan(data) if self._in_scan else self._segment(data)
            if state is not None:
                return state

    def _through_scan(self, data: bytes | bytearray) -> State | None:
        found = _MARKER.search(data, self._at)
        if found is None:
            # The last byte may be the first half of a marker.
            self._at = max(self._at, len(data) - 1)
            return State.MORE
        self._at, self._in_scan = found.start(), False
        self.segments[-1].data_end = self._at
        return None

    def _segment(self, data: bytes | bytearray) -> State | None:
        self._at = at = _past_fill(data, self._at)
        if at + 2 > len(data):
            return State.MORE
        kind = data[at + 1]
        if data[at] == 0xFF and kind == _END:
            self.end = at + 2
            return State.WHOLE if self._scans else State.BROKEN
        if data[at] != 0xFF or not _is_segment(kind):
            return State.BROKEN
        length = int.from_bytes(data[at + 2 : at + 4], "big") if at + 4 <= len(data) else 2
        if at + 2 + length > len(data):
            return State.MORE
        self._at, self._in_scan = at + 2 + length, kind == SCAN
        self.segments.append(Segment(kind, at + 4, self._at, self._at))
        self._scans += self._in_scan
        return None if length >= 2 else State.BROKEN


def is_jpeg(data: bytes | memoryview) -> bool:
    """Whether a file is a JPEG, by how it begins."""
    return bytes(data[:2]) == START[:2]


def _past_fill(data: bytes | bytearray, at: int) -> int:
    """Where the next marker begins: bytes 0 and 255 before it fill, and the last 255 is its own."""
    filled = _FILL.match(data, at)
    end = at if filled is None else filled.end()
    return end - 1 if end > at and data[end - 1] == 0xFF else end


def _is_segment(kind: int) -> bool:
    """Frame headers, tables, application data and comments; nothing else stands between the scans."""
    return 0xC0 <= kind <= 0xCF or kind in (SCAN, 0xDB, 0xDC, 0xDD) or 0xE0 <= kind <= 0xFE


def tail_is_scan(tail: bytes) -> bool:
    """Whether what stands behind an end marker is the rest of the picture, so that the marker is damage within it.

    A second end marker, fill bytes, text, a maker's data or another picture may stand there. The rest of a scan ends in
    an end marker that has no beginning, or is full of stuffed bytes.
    """
    start = tail.find(START)
    rest = (tail if start < 0 else tail[:start]).strip(b"\x00\xff\r\n \t\xd9")
    if len(_SCAN_BYTES.findall(rest)) >= _MIN_SCAN_BYTES:
        return True
    if start >= 0 or not rest:
        return False
    return tail.rstrip(b"\x00\r\n").endswith(b"\xff\xd9") and not rest.isascii()


def whole_jpeg(data: bytes) -> bytes | None:
    """The picture in ``data``, from its start to its end marker; None where it is cut off or damaged.

    Args:
        data: one JPEG with whatever a camera puts before and behind it.
    """
    start = data.find(START)
    if start < 0 or data[:start].strip(b"\x00\xff\r\n \t"):
        return None
    walk, picture = JpegWalk(), data[start:]
    if walk.go_on(picture) is not State.WHOLE or tail_is_scan(picture[walk.end :]):
        return None
    return picture[: walk.end]


def jpeg_is_whole(data: bytes) -> bool:
    """Whether ``data`` holds a whole JPEG; see ``whole_jpeg``."""
    return whole_jpeg(data) is not None
