"""How many pictures a file holds: of several the decoder gives the first, and says nothing of the rest.

Counted are pictures of their own: pages, frames of an animation, pictures of a sequence. Thumbnails, masks and smaller
copies of the same picture are not.
"""

from __future__ import annotations

__all__ = ["picture_count"]

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
    if head.startswith((b"GIF87a", b"GIF89a")):
        return max(1, _gif_frames(data))
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return max(1, _apng_frames(data))
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return max(1, _webp_frames(data))
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return max(1, _tiff_pages(data))
    if head[4:12] == b"ftypavis" or (head[4:8] == b"ftyp" and b"avis" in head[16:]):
        return 2  # a sequence; how long it is does not matter
    return 1


def _gif_frames(data: bytes | memoryview) -> int:
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


def _after_blocks(data: bytes | memoryview, at: int) -> int:
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


def _apng_frames(data: bytes | memoryview) -> int:
    at = 8
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        if kind == b"acTL":
            return min(int.from_bytes(data[at + 8 : at + 12], "big"), _MOST)
        if kind in (b"IDAT", b"IEND"):  # what makes an animation of it stands before
            break
        at += 12 + length
    return 1


def _webp_frames(data: bytes | memoryview) -> int:
    at, frames = 12, 0
    while at + 8 <= len(data) and frames < _MOST:
        frames += bytes(data[at : at + 4]) == b"ANMF"
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return frames


def _tiff_pages(data: bytes | memoryview) -> int:
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
