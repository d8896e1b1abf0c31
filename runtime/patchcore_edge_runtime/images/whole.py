"""Whether an image file holds all of its picture: decoders make up what is missing, and say nothing.

A copy in progress may have its full size already, and a file after a power cut too; the rest is zeros, or what the disk
had there. Each format says in its own way where it ends.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .jpeg import JpegWalk, State, is_jpeg

__all__ = ["ends_for_sure", "is_whole", "longest_run"]

_PNG, _BMP = b"\x89PNG\r\n\x1a\n", b"BM"
_RAW = (_BMP, b"P4", b"P5", b"P6", b"P7", b"II*\0", b"MM\0*", b"\x59\xa6\x6a\x95")
"""BMP, PNM, TIFF and Sun raster: may hold pixels as they are, of which any is as good as another."""

_FLAT_RUN = 64
_PIXELS_PER_BYTE = 4096
"""The most pixels of one colour that WebP, the tightest, was seen to write as a byte of a run of equal ones: 10,000."""
_NEAR = 48
_LEAST = 8
"""Values beside the edge of a filled part, and grey levels by which they differ from it."""


def is_whole(data: bytes | memoryview, image: NDArray[Any]) -> bool:
    """Whether the file was written to its end, as far as can be told from it.

    Args:
        data: the file.
        image: HxW or HxWxC, what a decoder made of it.
    """
    start = bytes(data[:16])
    if is_jpeg(start):
        # What follows the end of the picture is nobody's business.
        return JpegWalk().go_on(bytes(data)) is State.WHOLE
    if start.startswith(_PNG):
        return bytes(data).rfind(b"IEND") > 0
    if start.startswith(_RAW):
        bottom_up = start.startswith(_BMP) and int.from_bytes(data[22:26], "little", signed=True) > 0
        return not _is_filled(image[::-1] if bottom_up else image)
    if start.startswith(b"RIFF"):
        size = 8 + int.from_bytes(data[4:8], "little")
        return size <= len(data) + 1 and not _ends_in_run(data[:size], image)
    return not _ends_in_run(data, image)


def ends_for_sure(data: bytes | memoryview) -> bool:
    """Whether nothing of a whole file can still be missing: its format has a mark for its end, or it ends in pixels.

    A file whose size was reserved before it was written ends in equal bytes, as a picture with a black margin does.
    """
    if is_jpeg(data) or bytes(data[:8]) == _PNG:
        return True
    tail = bytes(data[-_FLAT_RUN:])
    return tail.count(tail[:1]) != len(tail)


def longest_run(image: NDArray[Any]) -> int:
    """Equal bytes in a row that a compressor may make of a picture."""
    height, width = image.shape[:2]
    return _FLAT_RUN + int(height) * int(width) // _PIXELS_PER_BYTE


def _ends_in_run(data: bytes | memoryview, image: NDArray[Any]) -> bool:
    """Whether compressed data ends in more equal bytes than a compressor writes."""
    most = longest_run(image)
    tail = bytes(data[-most - 1 :])
    return len(tail) > most and tail.count(tail[:1]) == len(tail)


def _is_filled(image: NDArray[Any]) -> bool:
    """Whether a picture breaks off in the middle of a row, and is black or white from there to its end.

    The background of a part may be so too, but what surrounds the place tells them apart: there, the row before is
    dark as well, or the row itself gets darker towards the place.

    Args:
        image: its rows in the order of the file.
    """
    fill = image[-1].ravel()[-1]
    top = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 0
    if fill not in (0, top) or (image[-1] != fill).any():
        return False
    # Of a colour the channel that is furthest from the fill: a pure one has two that are dark.
    rows = image if image.ndim == 2 else image.min(axis=2) if fill else image.max(axis=2)
    last = int(np.flatnonzero((rows != fill).any(axis=1)).max(initial=0))
    width = int(np.flatnonzero(rows[last] != fill).max(initial=-1)) + 1
    if not last or not 0 < width < rows.shape[1]:
        return False
    before, near = rows[last - 1].astype(np.float64), slice(max(0, width - _NEAR), width)
    own = rows[last].astype(np.float64)[near]
    least = _LEAST * top / 255
    beyond = np.abs(before[width:] - float(fill))
    left, above = np.median(np.abs(own - float(fill))), np.median(np.abs(before[near] - float(fill)))
    # A drawn mask has such edges, and no noise.
    drawn = not np.ptp(own)
    return bool(np.median(beyond) >= least and left >= max(least, above / 2) and not drawn)
