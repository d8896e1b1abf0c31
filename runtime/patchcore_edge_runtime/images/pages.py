"""How many pictures a file holds: of several the decoder gives the first, and says nothing of the rest.

Counted are pictures of their own: pages, frames of an animation, pictures of a sequence, the views of a stereo camera.
Thumbnails, masks, smaller copies of the same picture and maps of its brightness are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .claimed_size import COPIES, claimed_size
from .jpeg import JpegWalk

__all__ = ["picture_count"]

_HEAD = 1 << 16
"""Bytes in which a picture says what it is."""
_MPF = b"MPF\0"
_ENTRIES, _ENTRY_BYTES, _MOST_TAGS, _MOST_VIEWS = 0xB002, 16, 64, 64
_VIEWS = frozenset({0x020001, 0x020002, 0x020003})
"""Of a panorama, of a stereo camera, from several sides."""
_MAP = re.compile(rb"hdrgm|HDRGainMap|auxiliaryImageType|photo:20\d\d:aux", re.IGNORECASE)
"""What phones put behind a photo: how bright, or how far away, each of its places is."""
_NETPBM = re.compile(rb"P[1-7]\s")
_IN_LETTERS, _BITMAP, _LEAST_HEADER = (b"1", b"2", b"3"), b"4", 7

_MOST = 10_000
_REDUCED_OR_MASK = 0b101
"""In a TIFF's NewSubfileType: a smaller copy of another page, or its mask."""
_NEW_SUBFILE_TYPE = 254


def picture_count(data: bytes | memoryview) -> int:
    """The pictures in an image file, as far as its own structure tells; at least 1, and no more than 10,000.

    Args:
        data: all of the file.
    """
    head = bytes(data[:32])
    for kind, count in _COUNTERS:
        if kind.match(head):
            return max(1, count(memoryview(data)))
    return 1


def _gif_frames(data: memoryview) -> int:
    at = 13 + _gif_table(data[10] if len(data) > 10 else 0)
    frames = 0
    while at < len(data) and frames < _MOST:
        kind = data[at]
        if kind == 0x2C and at + 9 < len(data):  # an image: its place, perhaps colours, the code size, then its blocks
            frames += 1
            at = _after_blocks(data, at + 11 + _gif_table(data[at + 9]))
        elif kind == 0x21:  # an extension
            at = _after_blocks(data, at + 2)
        else:
            break
    return frames


def _gif_table(flags: int) -> int:
    """Bytes of a colour table."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: memoryview, at: int) -> int:
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


def _apng_frames(data: memoryview) -> int:
    """As many as it says, or as there are: what viewers without animation show may be none of its frames."""
    at, said, frames, apart = 8, 0, 0, False
    while at + 8 <= len(data) and frames < _MOST:
        length, kind = int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        if kind == b"acTL":
            said = int.from_bytes(data[at + 8 : at + 12], "big")
        frames += kind == b"fcTL"
        apart |= kind == b"IDAT" and not frames
        if kind == b"IEND" or (kind == b"IDAT" and not said):  # what makes an animation of it stands before
            break
        at += 12 + length
    return min(max(said, frames) + apart, _MOST) if said else 1


def _webp_frames(data: memoryview) -> int:
    at, frames = 12, 0
    while at + 8 <= len(data) and frames < _MOST:
        frames += bytes(data[at : at + 4]) == b"ANMF"
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return frames


def _tiff_pages(data: memoryview) -> int:
    order = "little" if data[0] == 0x49 else "big"
    big = 43 in (data[2], data[3])
    number, counter, entry = (8, 8, 20) if big else (4, 2, 12)

    def read(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)  # type: ignore[arg-type]

    at, seen, pages = read(8 if big else 4, number), set[int](), 0
    while 0 < at < len(data) and at not in seen and len(seen) < _MOST:
        seen.add(at)
        entries = min(read(at, counter), (len(data) - at) // entry)
        places = [at + counter + entry * place for place in range(entries)]
        kinds = [read(place + 4 + number, 4) for place in places if read(place, 2) == _NEW_SUBFILE_TYPE]
        pages += not any(kind & _REDUCED_OR_MASK for kind in kinds)
        at = read(at + counter + entry * entries, number)
    return pages


def _mpo_pictures(data: memoryview) -> int:
    """Of a JPEG with a list of pictures (CIPA DC-007), those that are views or frames, or as large as the first."""
    whole, walk = bytes(data), JpegWalk()
    if _MPF not in whole:
        return 1
    walk.go_on(whole)
    lists = (one.start + len(_MPF) for one in walk.segments if whole.startswith(_MPF, one.start))
    base, first = next(lists, len(whole)), claimed_size(data)
    order = "little" if whole[base : base + 1] == b"I" else "big"

    def read(at: int, size: int) -> int:
        return int.from_bytes(whole[base + at : base + at + size], order)  # type: ignore[arg-type]

    tags = read(4, 4)
    places = [tags + 2 + 12 * number for number in range(min(read(tags, 2), _MOST_TAGS))]
    size, entries = next(((read(at + 4, 4), read(at + 8, 4)) for at in places if read(at, 2) == _ENTRIES), (0, 0))
    pictures = 1
    for at in range(entries, entries + size, _ENTRY_BYTES)[1:_MOST_VIEWS]:
        kind, other = read(at, 4) & 0xFFFFFF, data[base + read(at + 8, 4) :]
        as_large = kind == 0 and first is not None and (claimed_size(other) or first._replace(width=0))[:2] == first[:2]
        pictures += kind in _VIEWS or (as_large and _MAP.search(other[:_HEAD]) is None)
    return pictures


def _netpbm_pictures(data: memoryview) -> int:
    """Two where another picture stands behind the first, as the format allows it."""
    claim, kind = claimed_size(data), bytes(data[1:2])
    if claim is None:
        return 1
    if kind in _IN_LETTERS:
        return 1 + (_NETPBM.search(data, 2) is not None)
    size = claim.height * -(-claim.width // 8) if kind == _BITMAP else claim.memory // COPIES
    # From there on the header of the first makes the search begin too early.
    return 1 + (_NETPBM.search(data[: size + _HEAD], size + _LEAST_HEADER) is not None)


_COUNTERS: tuple[tuple[re.Pattern[bytes], Callable[[memoryview], int]], ...] = (
    (re.compile(rb"GIF8[79]a"), _gif_frames),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _apng_frames),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _webp_frames),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), _tiff_pages),
    (re.compile(rb"\xff\xd8"), _mpo_pictures),
    (_NETPBM, _netpbm_pictures),
)
