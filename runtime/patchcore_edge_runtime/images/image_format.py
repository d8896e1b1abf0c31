"""Which kind of image file bytes are, by how they begin."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

from numpy.typing import NDArray

__all__ = ["USUAL", "ImageFormat", "image_format"]


class ImageFormat(StrEnum):
    """The kinds that are decoded; OpenEXR, HDR and what else OpenCV knows are not."""

    BMP = "BMP"
    JPEG = "JPEG"
    PNG = "PNG"
    TIFF = "TIFF"
    WEBP = "WebP"
    GIF = "GIF"
    JPEG_2000 = "JPEG 2000"
    NETPBM = "PNM"
    SUN = "Sun raster"


USUAL = frozenset({ImageFormat.BMP, ImageFormat.JPEG, ImageFormat.PNG, ImageFormat.TIFF, ImageFormat.WEBP})
"""What is decoded whatever the file is called; another kind only where its name says so: nobody sends a line a picture
for a decoder that it did not ask for (JPEG 2000's wrote beyond its memory, CVE-2025-53644)."""

_BEGINNINGS = {
    b"BM": ImageFormat.BMP,
    b"\xff\xd8\xff": ImageFormat.JPEG,
    b"\x89PNG\r\n\x1a\n": ImageFormat.PNG,
    b"II*\x00": ImageFormat.TIFF,
    b"MM\x00*": ImageFormat.TIFF,
    b"II+\x00": ImageFormat.TIFF,  # BigTIFF
    b"MM\x00+": ImageFormat.TIFF,
    b"GIF8": ImageFormat.GIF,
    b"\x00\x00\x00\x0cjP  ": ImageFormat.JPEG_2000,
    b"\xff\x4f\xff\x51": ImageFormat.JPEG_2000,  # a bare codestream
    b"\x59\xa6\x6a\x95": ImageFormat.SUN,
}
_NETPBM = re.compile(rb"P[1-7]\s")


def image_format(data: bytes | NDArray[Any]) -> ImageFormat | None:
    """The kind of an image file's bytes; None for a kind that is not decoded.

    Args:
        data: at least the first 12 bytes.
    """
    head = bytes(data[:12])
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return ImageFormat.WEBP
    if _NETPBM.match(head):
        return ImageFormat.NETPBM
    return next((kind for beginning, kind in _BEGINNINGS.items() if head.startswith(beginning)), None)
