"""What a set of image files is, from their headers and bytes; their pixels are compared where that costs little."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.files import read_image

from ..digests import FileDigests
from ..picture_header import PictureHeader, read_header

__all__ = ["PictureFacts", "look_at_pictures"]

_SMALL = 1 << 18
"""Pixels of a picture: up to so many on average, decoding takes less than a tenth of what a fit does with it."""


@dataclass(frozen=True)
class PictureFacts:
    """Of some files.

    Attributes:
        headers: of the files that can be read.
        unreadable: the others.
        same: files that show the same, in groups of two or more.
        by_pixels: whether pixels were compared, or only the files' bytes.
    """

    headers: dict[Path, PictureHeader]
    unreadable: list[Path]
    same: list[list[Path]]
    by_pixels: bool


def look_at_pictures(paths: Sequence[Path], digests: FileDigests, *, pixels: bool | None = None) -> PictureFacts:
    """Look at files, each once.

    Args:
        paths: of the files.
        digests: is asked for their digests, and keeps them.
        pixels: whether to decode pictures of one size and compare their pixels; where they are small when None.
    """
    paths = list(dict.fromkeys(paths))
    found = {path: read_header(path) or _decoded_header(path) for path in paths}
    headers = {path: header for path, header in found.items() if header is not None}
    if pixels is None:
        pixels = _mean_size(headers) <= _SMALL
    with ThreadPoolExecutor() as threads:
        keys = dict(zip(paths, threads.map(digests, paths), strict=True))
        decoded = _alike(headers, keys) if pixels else []
        keys |= zip(decoded, threads.map(_pixels_digest, decoded), strict=True)
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in headers:
        groups[keys[path]].append(path)
    broken = [path for path in paths if path not in headers] + groups.pop("", [])
    return PictureFacts(headers, broken, [same for same in groups.values() if len(same) > 1], pixels)


def _mean_size(headers: dict[Path, PictureHeader]) -> float:
    return float(np.mean([header.stored[0] * header.stored[1] for header in headers.values()])) if headers else 0.0


def _alike(headers: dict[Path, PictureHeader], digests: dict[Path, str]) -> list[Path]:
    """Files that may have the pixels of another with other bytes."""
    by_size = defaultdict(list)
    for path, header in headers.items():
        by_size[header.upright].append(path)
    return [path for some in by_size.values() if len({digests[path] for path in some}) > 1 for path in some]


def _pixels_digest(path: Path) -> str:
    """Of a picture's decoded pixels; empty where it cannot be decoded."""
    try:
        image = read_image(path)
    except DataError:
        return ""
    if image.ndim == 3 and image.shape[2] == 3 and _is_grey(image[0]) and _is_grey(image):
        image = image[..., 0]
    digest = hashlib.sha256(f"{image.shape[:2]} {image.dtype}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def _is_grey(pixels: NDArray[Any]) -> bool:
    return bool((pixels[..., :1] == pixels[..., 1:]).all())


def _decoded_header(path: Path) -> PictureHeader | None:
    """Of a file whose header only its decoder understands."""
    try:
        image = read_image(path)
    except DataError:
        return None
    colour = "colour" if image.ndim == 3 else "grey"
    transparency = " with transparency" if image.ndim == 3 and image.shape[2] == 4 else ""
    return PictureHeader(image.shape[:2], 1, 8 * image.dtype.itemsize, colour + transparency)
