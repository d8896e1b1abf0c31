"""Compressed pixels that are damaged within: a decoder makes up the rest of a strip, and says nothing.

What a disk or a network share lost in the middle of a file is read as zeros. Deflate has a checksum; LZW, PackBits and
WebP have none, but no encoder of theirs writes a long run of zeros.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from .claimed_size import code_stream
from .jpeg import JpegWalk, State
from .jpeg_scan import scan_fault
from .tiff import TiffTags, is_tiff, pieces_of
from .whole import longest_run
from .zlib_size import unpacked

__all__ = ["pixels_fault"]

_COMPRESSION, _FILL_ORDER = 259, 266
_DEFLATE, _WITHOUT_ZEROS, _JPEG = (8, 32946), (5, 32773), 7
_JPEG_TABLES = 347
_REVERSED = 2
_WEBP_PIXELS = (b"VP8 ", b"VP8L")


def pixels_fault(data: bytes | memoryview, image: NDArray[Any]) -> str:
    """What is wrong within the pixels of a TIFF, WebP or JPEG 2000, for a sentence; empty where nothing is found.

    Args:
        data: the file.
        image: HxW or HxWxC, what a decoder made of it.
    """
    view = memoryview(data)
    if is_tiff(view):
        return _tiff_fault(view, image)
    if bytes(view[:4]) == b"RIFF":
        return _hole(_webp_pixels(view), image)
    stream = code_stream(view)
    return "" if stream is None else _hole(iter([stream]), image)


def _tiff_fault(view: memoryview, image: NDArray[Any]) -> str:
    tags = TiffTags(view)
    if tags.damaged:
        return "zeros within"
    kind = tags.first(_COMPRESSION, 1)
    places, largest = pieces_of(tags)
    pieces = (view[begin : begin + length] for begin, length in places)
    if kind in _DEFLATE and tags.first(_FILL_ORDER) != _REVERSED:
        return (
            ""
            if all(_inflates(piece, largest) for piece in pieces)
            else "it holds more than its picture, or has another checksum"
        )
    if kind == _JPEG:
        tables = tags.stored(_JPEG_TABLES)
        return next(filter(None, (_jpeg_fault(tables, bytes(piece), image) for piece in pieces)), "")
    return _hole(pieces, image) if kind in _WITHOUT_ZEROS else ""


def _jpeg_fault(tables: bytes, piece: bytes, image: NDArray[Any]) -> str:
    """Of a strip or tile that is a JPEG, whose tables stand in a tag for all of them."""
    whole = tables[:-2] + piece[2:] if tables else piece
    if JpegWalk().go_on(whole) is not State.WHOLE:
        return "a piece of it breaks off"
    return scan_fault(whole, image)


def _inflates(piece: memoryview, most: int) -> bool:
    """Whether zlib finds no fault and no more pixels than there is room for; what comes out is not kept."""
    try:
        return unpacked([piece], most) <= most
    except zlib.error:
        return False


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
