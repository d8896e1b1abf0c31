"""What a decoder unpacks of a PNG beside its picture: of texts or pixels too many a megabyte becomes a gigabyte."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .zlib_size import unpacked

__all__ = ["holds_too_much", "without_texts"]

_START = b"\x89PNG\r\n\x1a\n"
_SLACK, _UNPACKED = 1 << 16, 1 << 24
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})
_MOST = 1 << 15
"""Bytes of texts and colour profiles, packed, that a photo may bring to the decoder; no pixel hangs on them."""


def without_texts(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A PNG without its texts and colour profile where they are long; anything else as it is.

    Args:
        data: a whole file.
    """
    if data[:8].tobytes() != _START:
        return data
    view: memoryview = memoryview(data)  # type: ignore[arg-type]
    chunks = list(_chunks(view))
    if sum(end - start for kind, start, end in chunks if kind in _TEXTS) <= _MOST:
        return data
    kept = [view[start:end] for kind, start, end in chunks if kind not in _TEXTS]
    return np.frombuffer(b"".join([_START, *kept]), np.uint8)


def holds_too_much(data: bytes | memoryview, size: int) -> bool:
    """Whether a PNG has far more pixels than it says: libpng unpacks all of them, and throws them away.

    Pictures of more than 16 MiB are not unpacked for that, of which so many packed bytes alone are too many.

    Args:
        data: a whole file; of another kind it holds nothing.
        size: bytes of the picture that it says it has.
    """
    view, most = memoryview(data), 2 * size + _SLACK
    if bytes(view[:8]) != _START:
        return False
    pieces = [view[start + 8 : end - 4] for kind, start, end in _chunks(view) if kind == b"IDAT"]
    if size > _UNPACKED:
        return sum(map(len, pieces)) > most
    try:
        return unpacked(pieces, most) > most
    except zlib.error:
        return False  # which the decoder says


def _chunks(view: memoryview) -> Iterator[tuple[bytes, int, int]]:
    """Kind, beginning and end of each chunk."""
    at = len(_START)
    while at + 8 <= len(view):
        end = at + 12 + int.from_bytes(view[at : at + 4], "big")
        yield bytes(view[at + 4 : at + 8]), at, min(end, len(view))
        at = end
