"""Streams of JPEGs in parts (``multipart/x-mixed-replace``), as real cameras send them.

Boundaries with more or fewer dashes than announced, or none announced; lines that end in LF alone; lengths that are
missing or wrong; no headers; text between. A JPEG says itself where it ends, so a part is read by its picture first,
and by length and boundary where the picture is damaged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import FrameError, SourceError
from ..images.jpeg import START, JpegWalk, State, tail_is_scan

__all__ = ["JpegParts"]

_MAX_LINE = 1 << 12
_MAX_BETWEEN = 1 << 16
_MAX_JPEG_BYTES = 64 << 20
_MAX_OTHER_PARTS = 256
# Where nothing parts the pictures but one's end and the next one's start; a thumbnail within one has no end before it.
_NEXT_PICTURE = b"\xff\xd9" + START
_BLANK = b"\r\n \t\x00"


@dataclass
class _Head:
    """What a part says before its body."""

    bounded: bool = False
    kind: str = ""
    length: int = 0

    @property
    def begun(self) -> bool:
        return self.bounded or bool(self.kind) or self.length > 0


class JpegParts:
    """The pictures of a stream, one by one.

    Args:
        more: the next bytes as they come, at least one; empty at the end.
        boundary: what the stream's header says it is, with or without dashes; empty where it says none.
        name: what people call the stream.
    """

    def __init__(self, more: Callable[[], bytes], boundary: str, name: str) -> None:
        self._more, self._name = more, name
        self._announced = boundary.strip("-").encode("latin-1", "replace")
        # As it was seen to be sent; what damaged pictures are ended by.
        self._seen = b""
        self._buffer = bytearray()

    def next(self) -> bytes:
        """The next JPEG, from its start to its end marker.

        Raises:
            FrameError: it is cut off or damaged; the next call gives the one after it.
            SourceError: the stream ends, or is none of JPEGs.
        """
        for _ in range(_MAX_OTHER_PARTS):
            picture = self._body(self._head())
            if picture is not None:
                return picture
        raise SourceError(f"{self._name} sends no motion JPEG")

    def _fill(self) -> bool:
        data = self._more()
        self._buffer += data
        return bool(data)

    def _need(self, count: int) -> bool:
        while len(self._buffer) < count:
            if not self._fill():
                return False
        return True

    def _head(self) -> _Head:
        """Up to the body: what its lines say."""
        head, left = _Head(), _MAX_BETWEEN
        while left > 0:
            if not self._need(len(START)):
                raise SourceError(f"{self._name} closed the connection")
            # Where there are boundaries, a picture without one before it is the rest of a part, such as a thumbnail.
            if self._buffer.startswith(START) and (head.begun or not self._seen):
                return head
            line = self._line()
            left -= len(line)
            text = line.strip(_BLANK)
            if self._is_boundary(text):
                self._seen = bytes(text.removesuffix(b"--")) if text.strip(b"-") else b"--"
                head = _Head(bounded=True)
            elif not text and head.begun:
                return head
            else:
                _read_header(text, head)
        raise SourceError(f"{self._name} sends no motion JPEG")

    def _line(self) -> bytes:
        """Taken from the buffer, its end included; the start of a first picture ends a line too."""
        end = 0
        while not end:
            looked = len(self._buffer)
            end = self._buffer.find(b"\n") + 1 or (looked if looked >= _MAX_LINE else 0)
            if not end and not self._fill():
                raise SourceError(f"{self._name} closed the connection")
        start = -1 if self._seen else self._buffer.find(START, 0, end)
        end = start if start > 0 else end
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        return line

    def _is_boundary(self, text: bytes) -> bool:
        return text.startswith(b"--") or (bool(self._announced) and text.removesuffix(b"--") == self._announced)

    def _body(self, head: _Head) -> bytes | None:
        """The picture of a part, taken from the buffer; None where the part is none."""
        blank = 0
        while self._need(blank + 1) and self._buffer[blank] in _BLANK:
            blank += 1
            if blank > _MAX_BETWEEN:
                raise SourceError(f"{self._name} sends no motion JPEG")
        if not self._need(blank + len(START)):
            raise SourceError(f"{self._name} closed the connection")
        if self._buffer[blank : blank + len(START)] != START:
            self._skip(head, blank)
            return None
        del self._buffer[:blank]
        return self._picture(max(0, head.length - blank))

    def _skip(self, head: _Head, blank: int) -> None:
        """Leave out a part without a picture; raises ``FrameError`` where there should be one."""
        if self._at_boundary(blank):
            del self._buffer[:blank]
            return
        if 0 < head.length <= _MAX_JPEG_BYTES and not head.kind.startswith("image/"):
            if not self._need(head.length):
                raise SourceError(f"{self._name} closed the connection")
            del self._buffer[: head.length]
            return
        self._to_boundary(0)
        if not head.kind or head.kind.startswith("image/"):
            raise self._damaged()

    def _at_boundary(self, at: int) -> bool:
        return bool(self._seen) and self._need(at + len(self._seen)) and self._buffer.startswith(self._seen, at)

    def _picture(self, length: int) -> bytes:
        if length > _MAX_JPEG_BYTES:
            raise SourceError(f"{self._name} sends frames of an impossible size")
        walk = JpegWalk()
        while (state := walk.go_on(self._buffer)) is State.MORE and not self._cut_off(length):
            if len(self._buffer) > _MAX_JPEG_BYTES:
                raise SourceError(f"{self._name} sends frames of an impossible size")
            if not self._fill():
                raise SourceError(f"{self._name} closed the connection")
        if state is not State.WHOLE:
            self._to_boundary(len(START))
            raise self._damaged()
        picture = bytes(self._buffer[: walk.end])
        tail = self._tail(walk.end, length)
        del self._buffer[: walk.end + len(tail)]
        if tail_is_scan(tail):
            raise self._damaged()
        return picture

    def _cut_off(self, length: int) -> bool:
        """Whether the part is over, by its length and by what stands behind it: a length alone may be too small."""
        behind = bytes(self._buffer[length : length + 2])
        return length > 0 and (behind in (b"\r\n", b"--") or behind.startswith(b"\n"))

    def _tail(self, end: int, length: int) -> bytes:
        """What a part holds behind its picture."""
        if length > end:
            # What the connection's end cuts off here is nothing of the picture.
            self._need(length)
            found = self._find_boundary(end, min(length, len(self._buffer)))
            return bytes(self._buffer[end : length if found < 0 else found])
        if length:
            return b""
        # No length, or it was too small. A new line or a boundary is the end; whatever else comes belongs to the part.
        if (
            not self._need(end + 2)
            or bytes(self._buffer[end : end + 2]) in (b"\r\n", b"--")
            or self._buffer[end] == 0x0A
        ):
            return b""
        if self._at_boundary(end) or (not self._parted and self._buffer.startswith(START, end)):
            return b""
        return bytes(self._buffer[end : self._wait_for_boundary(end)])

    def _find_boundary(self, start: int, stop: int) -> int:
        return self._buffer.find(self._seen, start, stop) if self._parted else -1

    @property
    def _parted(self) -> bool:
        """Whether it is known what boundaries look like."""
        return bool(self._seen.strip(b"-"))

    def _wait_for_boundary(self, start: int) -> int:
        """Where the next boundary begins, or the next picture where there are no boundaries; the end at the end."""
        mark = self._seen if self._parted else _NEXT_PICTURE
        looked = start
        while (found := self._buffer.find(mark, looked)) < 0:
            looked = max(start, len(self._buffer) - len(mark))
            if len(self._buffer) - start > _MAX_JPEG_BYTES:
                raise SourceError(f"{self._name} sends frames of an impossible size")
            if not self._fill():
                return len(self._buffer)
        return found if self._parted else found + 2

    def _to_boundary(self, start: int) -> None:
        del self._buffer[: self._wait_for_boundary(start)]

    def _damaged(self) -> FrameError:
        return FrameError(f"{self._name} sent a frame that is no whole JPEG; check the network and the camera.")


def _read_header(text: bytes, head: _Head) -> None:
    key, colon, value = text.decode("latin-1").partition(":")
    if not colon:
        return
    key, value = key.strip().lower(), value.strip()
    if key == "content-length" and value.isdecimal():
        head.length = int(value)
    elif key == "content-type":
        head.kind = value.lower()
