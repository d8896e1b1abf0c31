"""How large a picture says it is, read from the beginning of its file: before a decoder believes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .tiff import TiffTags

__all__ = ["COPIES", "Claim", "claimed_size", "code_stream"]

COPIES = 3
"""Of a picture, its pixels as they are stored among them, that most decoders have in memory at a time."""

_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 4, 6: 4}
_PNM = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})(?:(?:\s|#[^\n]*\n)+(\d{1,6}))?")
_PAM = re.compile(rb"^(WIDTH|HEIGHT|DEPTH|MAXVAL)\s+(\d{1,9})", re.MULTILINE)
_HEAD = 4096
_BOXES = 64
_CODE_STREAM, _SIZ_BYTES, _TILE_BYTES = b"\xff\x4f\xff\x51", 42, 6000


class Claim(NamedTuple):
    """What a file says of its picture.

    Attributes:
        height, width: in pixels.
        memory: bytes that decoding takes at most, the decoder's own included, as measured of OpenCV's.
    """

    height: int
    width: int
    memory: int


def claimed_size(data: bytes | memoryview) -> Claim | None:
    """The size in the header of an image file; None where it has none, or it is of a format that is not known here.

    Args:
        data: the file, from its beginning.
    """
    view = memoryview(data)
    start = bytes(view[:16])
    for magic, read in _READERS.items():
        if start.startswith(magic):
            return read(view)
    return _jpeg_2000(view) if start[4:8] == b"jP  " else None


def _claim(height: int, width: int, pixel_bytes: int, copies: int = COPIES) -> Claim:
    return Claim(height, width, height * width * pixel_bytes * copies)


def _big(view: memoryview, at: int, size: int) -> int:
    return int.from_bytes(view[at : at + size], "big")


def _little(view: memoryview, at: int, size: int) -> int:
    return int.from_bytes(view[at : at + size], "little")


def _png(view: memoryview) -> Claim | None:
    depth = 2 if _big(view, 24, 1) > 8 else 1
    return _claim(_big(view, 20, 4), _big(view, 16, 4), depth * _PNG_CHANNELS.get(_big(view, 25, 1), 4))


def _jpeg(view: memoryview) -> Claim | None:
    at = 2
    # As libjpeg looks for its markers: what fills the place between two of them is passed over.
    while (marker := _MARKER.search(view, at)) is not None:
        at, kind = marker.end(), view[marker.end() - 1]
        if kind in _FRAME_HEADERS and at + 8 <= len(view):
            channels, depth = max(1, view[at + 7]), 1 if view[at + 2] <= 8 else 2
            # A progressive one's coefficients wait in memory, two bytes each.
            return _claim(_big(view, at + 3, 2), _big(view, at + 5, 2), channels * depth, 4)
        at += 0 if kind in _ALONE else max(2, _big(view, at, 2))
    return None


def _webp(view: memoryview) -> Claim | None:
    kind = bytes(view[12:16])
    if kind == b"VP8X":
        return _claim(_little(view, 27, 3) + 1, _little(view, 24, 3) + 1, 4)
    if kind == b"VP8L":
        bits = _little(view, 21, 4)
        return _claim((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1, 4)
    return _claim(_little(view, 28, 2) & 0x3FFF, _little(view, 26, 2) & 0x3FFF, 3) if kind == b"VP8 " else None


def _bmp(view: memoryview) -> Claim | None:
    if _little(view, 14, 4) == 12:
        return _claim(_little(view, 20, 2), _little(view, 18, 2), 3)
    width, height = (int.from_bytes(view[at : at + 4], "little", signed=True) for at in (18, 22))
    return _claim(abs(height), abs(width), 4 if _little(view, 28, 2) == 32 else 3)


def _gif(view: memoryview) -> Claim | None:
    return _claim(_little(view, 8, 2), _little(view, 6, 2), 4, 4)


def _sun(view: memoryview) -> Claim | None:
    return _claim(_big(view, 8, 4), _big(view, 4, 4), 3)


def _pnm(view: memoryview) -> Claim | None:
    found = _PNM.match(view[:_HEAD])
    if found is None:
        return None
    depth = 2 if int(found[3] or 1) > 255 else 1
    return _claim(int(found[2]), int(found[1]), depth * (3 if view[1] in b"36" else 1))


def _pam(view: memoryview) -> Claim | None:
    facts = {name: int(value) for name, value in _PAM.findall(view[:_HEAD])}
    depth = 2 if facts.get(b"MAXVAL", 255) > 255 else 1
    return _claim(facts.get(b"HEIGHT", 0), facts.get(b"WIDTH", 0), depth * max(1, facts.get(b"DEPTH", 1)))


def _tiff(view: memoryview) -> Claim | None:
    """Of the first picture, with the memory of a tile: that may be larger than the picture."""
    tags = TiffTags(view)
    if not (256 in tags and 257 in tags):
        return None
    # A palette's colours (photometric 3) are written out.
    channels = 3 if tags.first(262) == 3 else max(1, tags.first(277, 1))
    pixel_bytes = channels * max(1, tags.first(258, 8) + 7 >> 3)
    tile = tags.first(322) * tags.first(323) * pixel_bytes
    whole = _claim(tags.first(257), tags.first(256), pixel_bytes)
    return whole._replace(memory=whole.memory + tile)


def code_stream(view: memoryview) -> memoryview | None:
    """What a JPEG 2000 file holds of its picture, whether boxes are around it or not; None in other files."""
    if bytes(view[:4]) == _CODE_STREAM:
        return view
    if bytes(view[4:8]) != b"jP  ":
        return None
    return next((body for kind, body in _boxes(view) if kind == b"jp2c"), None)


def _jpeg_2000(view: memoryview) -> Claim | None:
    """By its SIZ; its decoder takes four bytes for every sample, and some kilobytes for every tile."""
    view = code_stream(view) or view[:0]
    if len(view) < _SIZ_BYTES:
        return None
    width, height = _big(view, 8, 4) - _big(view, 16, 4), _big(view, 12, 4) - _big(view, 20, 4)
    samples = max(1, _big(view, 40, 2))
    across, down = (-(-size // max(1, _big(view, at, 4))) for size, at in ((width, 24), (height, 28)))
    whole = _claim(max(0, height), max(0, width), samples, 6)
    return whole._replace(memory=whole.memory + max(0, across * down) * _TILE_BYTES * (1 + samples))


def _boxes(view: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The boxes of an ISO file (ISO/IEC 14496-12), each with what is in it."""
    at = 0
    for _ in range(_BOXES):
        size, head = _big(view, at, 4), 8
        if size == 1:
            size, head = _big(view, at + 8, 8), 16
        if at + head > len(view) or (size and size < head):
            return
        end = at + size if size else len(view)
        yield bytes(view[at + 4 : at + 8]), view[at + head : end]
        at = end


_READERS: dict[bytes, Callable[[memoryview], Claim | None]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8": _jpeg,
    b"RIFF": _webp,
    b"BM": _bmp,
    b"GIF8": _gif,
    b"II*\0": _tiff,
    b"MM\0*": _tiff,
    b"II+\0": _tiff,
    b"MM\0+": _tiff,
    _CODE_STREAM: _jpeg_2000,
    b"\x59\xa6\x6a\x95": _sun,
    b"P7": _pam,
    **{b"P%d" % number: _pnm for number in range(1, 7)},
}
