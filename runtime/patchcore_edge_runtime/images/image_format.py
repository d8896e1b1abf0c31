"""Which kind of image file bytes are, by how they begin."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from numpy.typing import NDArray

__all__ = ["ImageFormat", "image_format"]


class ImageFormat(StrEnum):
    """The kinds that are decoded; JPEG 2000, OpenEXR, HDR, GIF, AVIF and what else OpenCV knows are not."""

    BMP = "BMP"
    JPEG = "JPEG"
    PNG = "PNG"
    TIFF = "TIFF"
    WEBP = "WebP"


_BEGINNINGS = {
    b"BM": ImageFormat.BMP,
    b"\xff\xd8\xff": ImageFormat.JPEG,
    b"\x89PNG\r\n\x1a\n": ImageFormat.PNG,
    b"II*\x00": ImageFormat.TIFF,
    b"MM\x00*": ImageFormat.TIFF,
    b"II+\x00": ImageFormat.TIFF,  # BigTIFF
    b"MM\x00+": ImageFormat.TIFF,
}


def image_format(data: bytes | NDArray[Any]) -> ImageFormat | None:
    """The kind of an image file's bytes; None for a kind that is not decoded.

    Args:
        data: at least the first 12 bytes.
    """
    head = bytes(data[:12])
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return ImageFormat.WEBP
    return next((kind for beginning, kind in _BEGINNINGS.items() if head.startswith(beginning)), None)
