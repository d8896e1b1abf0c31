"""How much a zlib stream unpacks to; what comes out is not kept."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

__all__ = ["unpacked"]

_CHUNK = 1 << 20


def unpacked(pieces: Iterable[memoryview], most: int) -> int:
    """Bytes that a stream unpacks to, its checksum looked at; it is not gone on with once they are more than ``most``.

    Args:
        pieces: of the stream, one behind the other.
        most: bytes.

    Raises:
        zlib.error: the stream is damaged.
    """
    stream, size = zlib.decompressobj(), 0
    for piece in pieces:
        rest: bytes | memoryview = piece
        while rest and not stream.eof and size <= most:
            size += len(stream.decompress(rest, _CHUNK))
            rest = stream.unconsumed_tail
    return size
