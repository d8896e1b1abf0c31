"""How large a picture may be to be decoded: by the memory that is free, and by what the line expects of its camera.

A file of a megabyte may claim a picture of gigabytes. Its header is read first, and what is too large is refused there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..system import free_memory
from .claimed_size import claimed_size
from .pixel_limit import MAX_PIXELS

__all__ = ["MIN_LIMIT", "PixelLimit", "bytes_fault", "limit_pixels", "picture_fault", "size_fault", "video_fault"]

MIN_LIMIT = 1 << 20
"""Pixels that a picture may have whatever a line expects: what is that small costs nothing."""

_SHARE_OF_FREE = 0.5
_SMALL = 1 << 25
"""Bytes up to which nobody asks how much memory is free."""
_MAX_SCANS = 100
"""Of a JPEG; cameras and programs write ten, and each costs as much as decoding the picture."""

_VIDEO_BYTES = 9
"""A pixel of a frame, of those that a codec refers to, and of what is handed out."""


class PixelLimit:
    """The largest frame that a line expects.

    Attributes:
        pixels: height times width; None where nothing is known. May be set anew, as by another bundle.
    """

    def __init__(self, pixels: int | None) -> None:
        self.pixels = pixels


_in_force: list[PixelLimit] = []


@contextmanager
def limit_pixels(limit: PixelLimit) -> Iterator[PixelLimit]:
    """While inside, larger pictures are refused in all of the process; of several limits the largest one counts.

    Of the process like OpenCV's own limit, and like memory: frames are decoded in many threads and by many hands.
    """
    _in_force.append(limit)
    try:
        yield limit
    finally:
        _in_force.remove(limit)


def picture_fault(data: bytes | memoryview) -> str:
    """Why an image file must not be decoded, as the end of a sentence; empty when it may be.

    Args:
        data: the file.
    """
    claim = claimed_size(data)
    if claim is None:
        return ""
    if bytes(data[:2]) == b"\xff\xd8" and bytes(data).count(b"\xff\xda") > _MAX_SCANS:
        return "has more scans than any camera or program writes; save it anew."
    return size_fault(claim.height, claim.width, claim.memory)


def size_fault(height: int, width: int, memory: int) -> str:
    """Why a picture of that size must not be decoded, as the end of a sentence; empty when it may be.

    Args:
        height, width: in pixels.
        memory: bytes that decoding it takes.
    """
    expected = [limit.pixels for limit in tuple(_in_force)]
    known = [pixels for pixels in expected if pixels is not None]
    # Several lines in one process: what one of them may take, all may.
    limit = max(MIN_LIMIT, *known) if expected and len(known) == len(expected) else MAX_PIXELS
    if height * width > min(limit, MAX_PIXELS):
        claimed = f"says that it has {width}x{height} pixels"
        if limit >= MAX_PIXELS:
            return f"{claimed}, more than any camera's; replace it."
        return (
            f"{claimed}, and this line expects {limit / 1e6:.1f} megapixels at most; raise max_megapixels in [source]."
        )
    return bytes_fault(memory, f"decode its {width}x{height} pixels")


def video_fault(height: int, width: int) -> str:
    """Why an open video or stream of that size must not be read, as the end of a sentence; empty when it may be.

    Args:
        height, width: of its frames, in pixels; 0 or less where it does not say.
    """
    height, width = max(0, height), max(0, width)
    return size_fault(height, width, height * width * _VIDEO_BYTES)


def bytes_fault(memory: int, purpose: str) -> str:
    """Why so much memory must not be taken, as the end of a sentence; empty when it may be.

    Args:
        memory: bytes that are needed.
        purpose: what for, such as ``read it``.
    """
    free = free_memory() if memory > _SMALL else None
    if free is None or memory <= free * _SHARE_OF_FREE:
        return ""
    return (
        f"would take {memory / 2**30:.1f} GiB of memory to {purpose}, more than half of the {free / 2**30:.1f} GiB "
        "that are free; make it smaller or close other programs."
    )
