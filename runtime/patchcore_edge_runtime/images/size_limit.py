"""How large a picture may be to be decoded: by the memory that is free, and by what the line expects of its camera.

A file of a megabyte may claim a picture of gigabytes. Its header is read first, and what is too large is refused there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from ..system import free_memory
from .claimed_size import COPIES, Claim
from .pixel_limit import MAX_PIXELS
from .png import holds_too_much

__all__ = [
    "MIN_LIMIT",
    "PixelLimit",
    "bytes_fault",
    "limit_pixels",
    "most_pixels",
    "picture_fault",
    "room_for",
    "size_fault",
    "video_fault",
]

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
_in_hand: list[int] = []
_changed = Condition()


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


def picture_fault(data: bytes | memoryview, claim: Claim) -> str:
    """Why an image file must not be decoded, as the end of a sentence; empty when it may be.

    Args:
        data: the file.
        claim: what it says of itself, by ``claimed_size``.
    """
    if bytes(data[:2]) == b"\xff\xd8" and bytes(data).count(b"\xff\xda") > _MAX_SCANS:
        return "has more scans than any camera or program writes; save it anew."
    if fault := size_fault(claim.height, claim.width, claim.memory):
        return fault
    return "holds far more than its picture; save it anew." if holds_too_much(data, claim.memory // COPIES) else ""


def most_pixels() -> int:
    """Height times width of the largest picture that may be decoded, whatever memory there is."""
    expected = [limit.pixels for limit in tuple(_in_force)]
    known = [pixels for pixels in expected if pixels is not None]
    # Several lines in one process: what one of them may take, all may.
    return min(MAX_PIXELS, max(MIN_LIMIT, *known)) if expected and len(known) == len(expected) else MAX_PIXELS


def size_fault(height: int, width: int, memory: int) -> str:
    """Why a picture of that size must not be decoded, as the end of a sentence; empty when it may be.

    Args:
        height, width: in pixels.
        memory: bytes that decoding it takes.
    """
    limit = most_pixels()
    if height * width > limit:
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


@contextmanager
def room_for(memory: int) -> Iterator[None]:
    """Wait until there is room beside the large pictures that other threads decode now; inside, it is taken.

    Each alone may be small enough, and all of them together not; and what is refused must not hang on who came first.

    Args:
        memory: bytes that decoding the picture takes.
    """
    if memory <= _SMALL:
        yield
        return
    with _changed:
        _changed.wait_for(lambda: not _in_hand or not bytes_fault(sum(_in_hand) + memory, "decode them"))
        _in_hand.append(memory)
    try:
        yield
    finally:
        with _changed:
            _in_hand.remove(memory)
            _changed.notify_all()


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
