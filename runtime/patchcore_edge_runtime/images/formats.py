"""Which files are pictures, by the ending of their names, and which of those the decoder at hand reads."""

from __future__ import annotations

import base64
import os
from functools import cache

import cv2
import numpy as np

from .image_format import ImageFormat

__all__ = ["IMAGE_SUFFIXES", "UNREAD_SUFFIXES", "is_picture_name", "is_readable_name", "named_format"]

_ALWAYS = frozenset(
    {
        ".apng",
        ".bmp",
        ".dib",
        ".jfi",
        ".jfif",
        ".jif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".mpo",
        ".png",
        ".tif",
        ".tiff",
        ".webp",
    }
)
"""Read by every build of OpenCV, which looks at what is in a file and not at how it is called."""

_BY_BUILD = {
    ".gif": "gif",
    ".j2c": "jp2",
    ".j2k": "jp2",
    ".jp2": "jp2",
    ".jpc": "jp2",
    ".jpf": "jp2",
    ".jpx": "jp2",
    ".pam": "pam",
    ".pbm": "pnm",
    ".pgm": "pnm",
    ".pnm": "pnm",
    ".ppm": "pnm",
    ".ras": "sun",
    ".sr": "sun",
}
"""Read where OpenCV was built with the format, and under such a name only: see ``image_format.USUAL``."""

_FORMATS = {
    "gif": ImageFormat.GIF,
    "jp2": ImageFormat.JPEG_2000,
    "pam": ImageFormat.NETPBM,
    "pnm": ImageFormat.NETPBM,
    "sun": ImageFormat.SUN,
}

IMAGE_SUFFIXES = _ALWAYS | frozenset(_BY_BUILD)
"""Endings of the files that may be read, in small letters."""

UNREAD_SUFFIXES = frozenset(
    # Phones, and what replaces JPEG. OpenCV may read AVIF, but its size stands in two places, and a decoder believes
    # the one that is not in the header: what it takes is not known before.
    {".avif", ".heic", ".heif", ".hif", ".avci", ".jxl", ".jxr", ".wdp", ".hdp"}
    # Raw files of cameras.
    | {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".k25", ".kdc", ".mef", ".mos", ".mrw"}
    | {".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
    # Floating-point pixels, which no fit here takes.
    | {".exr", ".hdr", ".pfm", ".pic"}
    # Drawings, scans, microscopes.
    | {".dcm", ".fit", ".fits", ".ico", ".pcx", ".psb", ".psd", ".svg", ".tga"}
)
"""Endings of pictures that are not read, in small letters."""

# Pictures of a few grey pixels, to ask the decoder with.
_SAMPLES = {
    "gif": "R0lGODdhAQABAIAAAP///////ywAAAAAAQABAAACAkQBADs=",
    "jp2": "AAAADGpQICANCocKAAAAFGZ0eXBqcDIgAAAAAGpwMiAAAAAtanAyaAAAABZpaGRyAAAAIAAAACAAAQcHAAAAAAAPY29scgEAAAAA"
    "ABEAAACZanAyY/9P/1EAKQAAAAAAIAAAACAAAAAAAAAAAAAAACAAAAAgAAAAAAAAAAAAAQcBAf9SAAwAAAABAAUEBAAB/1wAE0BA"
    "SEhQSEhQSEhQSEhQSEhQ/2QAJQABQ3JlYXRlZCBieSBPcGVuSlBFRyB2ZXJzaW9uIDIuNS4z/5AACgAAAAAAGAAB/5PH0ggGv4CA"
    "gICA/9k=",
    "pam": "UDcKV0lEVEggMQpIRUlHSFQgMQpERVBUSCAzCk1BWFZBTCAyNTUKRU5ESERSClpaWg==",
    "pnm": "UDUgMSAxIDI1NQpa",
    "sun": "WaZqlQAAAAEAAAABAAAAGAAAAAQAAAABAAAAAAAAAABaWlpa",
}


def is_readable_name(name: str | os.PathLike[str]) -> bool:
    """Whether a file of that name is a picture that the decoder at hand reads; the file itself is not looked at."""
    suffix = _suffix(name)
    return suffix in _ALWAYS or (suffix in _BY_BUILD and _decodes(_BY_BUILD[suffix]))


def named_format(name: str | os.PathLike[str]) -> ImageFormat | None:
    """The unusual format that a file's name speaks of; None for a usual one, or none."""
    family = _BY_BUILD.get(_suffix(name))
    return None if family is None else _FORMATS[family]


def is_picture_name(name: str | os.PathLike[str]) -> bool:
    """Whether a file of that name is a picture, read here or not."""
    suffix = _suffix(name)
    return suffix in IMAGE_SUFFIXES or suffix in UNREAD_SUFFIXES


def _suffix(name: str | os.PathLike[str]) -> str:
    # Not PurePath: of ten thousand names it takes a tenth of a second.
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


@cache
def _decodes(kind: str) -> bool:
    data = np.frombuffer(base64.b64decode(_SAMPLES[kind]), np.uint8)
    try:
        return cv2.imdecode(data, cv2.IMREAD_ANYCOLOR) is not None
    except cv2.error:
        return False
