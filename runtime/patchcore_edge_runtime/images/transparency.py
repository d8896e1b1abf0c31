"""Alpha of image files, which OpenCV decodes only together with pixels that are not turned upright.

A picture's colours come from the decoder that turns them upright by EXIF; alpha comes from the other one, and is
turned as its colours have to be to become the same picture.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice, product
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["is_plain_8_bit", "with_alpha"]

_JPEG, _PNG, _TIFF = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAX_CHUNKS = 1000
_GREY, _WITH_ALPHA = 0, (4, 6)
"""Colour types of PNG."""


def with_alpha(
    data: NDArray[np.uint8], upright: NDArray[Any], decode: Callable[[NDArray[np.uint8], int], NDArray[Any] | None]
) -> NDArray[Any] | None:
    """A decoded picture with the file's alpha where a pixel of it is not opaque; as it is where none is.

    Args:
        data: the file.
        upright: HxW or HxWx3 its picture, without alpha.
        decode: OpenCV's decoder, by flags; None when it cannot.

    Returns:
        HxWx4 of the picture's dtype, or ``upright`` itself; None where the file has transparency that cannot be had.
    """
    head = data[:8].tobytes()
    if head.startswith(_JPEG):
        return upright
    if head == _PNG:
        colour_type, bits, key = _png_transparency(data)
        if colour_type == _GREY and key is not None:
            return _keyed(upright, int.from_bytes(key[:2], "big"), bits)
        if colour_type not in _WITH_ALPHA and key is None:
            return upright
    stored, tiff = decode(data, cv2.IMREAD_UNCHANGED), head[:4] in _TIFF
    if stored is None or stored.ndim != 3 or stored.shape[2] != 4:
        # OpenCV gives grey TIFFs without their alpha.
        return None if tiff and _tiff_samples(data) == 2 else upright
    if (stored[..., 3] == np.iinfo(stored.dtype).max).all():
        return upright
    # libtiff's RGBA interface gives colours that are multiplied by alpha already.
    return _turned(_divided(stored) if tiff and stored.dtype == np.uint8 else stored, stored, upright)


def is_plain_8_bit(head: NDArray[np.uint8]) -> bool:
    """Whether the first 4,096 bytes of a file, say, tell that it is an opaque picture of 8 bits a sample or fewer.

    So JPEGs and most PNGs; what cannot be told from them has to be decoded.
    """
    start = head[:8].tobytes()
    if start.startswith(_JPEG):
        return True
    if start != _PNG:
        return False
    colour_type, bits, key = _png_transparency(head)
    # A chunk of transparency may come after what is at hand; then the pixels do too.
    return bits <= 8 and colour_type not in _WITH_ALPHA and key is None and b"IDAT" in head.tobytes()


def _png_transparency(data: NDArray[np.uint8]) -> tuple[int, int, bytes | None]:
    """Colour type, bits per sample, and what the chunk of transparency holds that stands before the pixels."""
    size = data[8:33].tobytes()
    if len(size) < 25:
        return 0, 8, None
    at = 8
    for _ in range(_MAX_CHUNKS):
        head = data[at : at + 8].tobytes()
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if len(head) < 8 or kind in (b"IDAT", b"IEND"):
            break
        if kind == b"tRNS":
            return size[17], size[16], data[at + 8 : at + 8 + min(length, 256)].tobytes()
        at += 12 + length
    return size[17], size[16], None


def _keyed(upright: NDArray[Any], key: int, bits: int) -> NDArray[Any]:
    """A grey picture one grey of which is transparent; OpenCV gives no alpha of it. Fewer bits come spread over 8."""
    full = int(np.iinfo(upright.dtype).max)
    level = key * full // ((1 << bits) - 1) if bits < 8 else key
    grey = upright if upright.ndim == 2 else upright[..., 0]
    opaque = grey != level
    if opaque.all():
        return upright
    return np.dstack([grey, grey, grey, np.where(opaque, full, 0).astype(upright.dtype)])


def _tiff_samples(data: NDArray[np.uint8]) -> int:
    """Samples per pixel of a TIFF's first picture; 0 where they are not found."""
    raw = data[:16].tobytes()
    order, big = ("little" if raw[:1] == b"I" else "big"), raw[2:3] == b"+" or raw[3:4] == b"+"
    offset_bytes, count_bytes, entry_bytes = (8, 8, 20) if big else (4, 2, 12)
    first = 8 if big else 4

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size].tobytes(), order)  # type: ignore[arg-type]

    at = number(first, offset_bytes)
    entries = at + count_bytes
    for place in islice(range(entries, len(data), entry_bytes), min(number(at, count_bytes), _MAX_CHUNKS)):
        if number(place, 2) == 277:
            return number(place + entry_bytes - offset_bytes, 2)
    return 0


def _divided(stored: NDArray[Any]) -> NDArray[Any]:
    alpha = np.maximum(stored[..., 3:].astype(np.uint16), 1)
    colour = np.minimum((stored[..., :3].astype(np.uint16) * 255 + alpha // 2) // alpha, 255)
    return np.dstack([colour.astype(np.uint8), stored[..., 3]])


def _turned(rgba: NDArray[Any], stored: NDArray[Any], upright: NDArray[Any]) -> NDArray[Any] | None:
    """``rgba`` turned and mirrored as ``stored``, which it lies as, has to be to become the upright picture."""
    wanted = upright if upright.ndim == 3 else np.repeat(upright[..., None], 3, 2)
    for turns, mirrored in product(range(4), (False, True)):

        def moved(image: NDArray[Any], turns: int = turns, mirrored: bool = mirrored) -> NDArray[Any]:
            turned = np.rot90(image, turns)
            return turned[:, ::-1] if mirrored else turned

        if np.array_equal(moved(stored)[..., :3], wanted):
            return np.ascontiguousarray(moved(rgba))
    return None
