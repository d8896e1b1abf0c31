"""Compressed pixels that are damaged within: a decoder makes up the rest of a strip, and says nothing.

What a disk or a network share lost in the middle of a file is read as zeros. Deflate has a checksum; LZW, PackBits and
WebP have none, but no encoder of theirs writes a long run of zeros.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from .tiff import TiffTags, is_tiff
from .whole import longest_run

__all__ = ["pixels_fault"]

_COMPRESSION, _FILL_ORDER = 259, 266
_PIECES = ((273, 279), (324, 325))
"""Tags of where strips and tiles begin, and of how long they are."""
_DEFLATE, _WITHOUT_ZEROS = (8, 32946), (5, 32773)
_REVERSED = 2
_CHUNK = 1 << 20
_WEBP_PIXELS = (b"VP8 ", b"VP8L")


def pixels_fault(data: bytes | memoryview, image: NDArray[Any]) -> str:
    """What is wrong within the pixels of a TIFF or WebP, for a sentence; empty where nothing is found, or of another.

    Args:
        data: the file.
        image: HxW or HxWxC, what a decoder made of it.
    """
    view = memoryview(data)
    if is_tiff(view):
        return _tiff_fault(view, image)
    if bytes(view[:4]) == b"RIFF":
        return _hole(_webp_pixels(view), image)
    return ""


def _tiff_fault(view: memoryview, image: NDArray[Any]) -> str:
    tags = TiffTags(view)
    kind = tags.first(_COMPRESSION, 1)
    places = [place for begins, lengths in _PIECES for place in zip(tags.all(begins), tags.all(lengths), strict=False)]
    pieces = (view[begin : begin + length] for begin, length in places)
    if kind in _DEFLATE and tags.first(_FILL_ORDER) != _REVERSED:
        return "" if all(map(_inflates, pieces)) else "its checksum is another one"
    return _hole(pieces, image) if kind in _WITHOUT_ZEROS else ""


def _inflates(piece: memoryview) -> bool:
    """Whether zlib finds no fault; what comes out is not kept."""
    stream, rest = zlib.decompressobj(), bytes(piece)
    try:
        while rest and not stream.eof:
            stream.decompress(rest, _CHUNK)
            rest = stream.unconsumed_tail
    except zlib.error:
        return False
    return True


def _hole(pieces: Iterator[memoryview], image: NDArray[Any]) -> str:
    zeros = bytes(longest_run(image) + 1)
    return "zeros within" if any(zeros in bytes(piece) for piece in pieces) else ""


def _webp_pixels(view: memoryview) -> Iterator[memoryview]:
    at = 12
    while at + 8 <= len(view):
        length = int.from_bytes(view[at + 4 : at + 8], "little")
        if bytes(view[at : at + 4]) in _WEBP_PIXELS:
            yield view[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
