"""The command line's words for what of a frame counts, shared by the commands that open photos."""

from __future__ import annotations

from typing import Annotated

import typer

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.images.geometry import Masks, Roi, parse_polygon, parse_roi
from patchcore_edge_runtime.images.preprocess import FULL_DEPTH

__all__ = ["BitDepthOption", "IgnoreMaskOption", "RoiOption", "as_masks", "as_roi", "parse_depth", "parse_size"]

RoiOption = Annotated[
    str | None,
    typer.Option(
        "--roi",
        help="Part of each photo and frame to look at: X,Y,WIDTH,HEIGHT in pixels. The run and the bundle carry it.",
    ),
]
IgnoreMaskOption = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore-mask",
        help="Corners 'x,y x,y x,y' in fractions of the frame within which nothing counts; several times for several. "
        "The run and the bundle carry them.",
    ),
]
BitDepthOption = Annotated[
    str | None,
    typer.Option(
        "--bit-depth",
        help="Bits that 16-bit photos and frames use, 8 to 16. Default: found from the largest value of all photos.",
    ),
]


def as_roi(text: str | None) -> Roi | None:
    """A region of interest from ``X,Y,WIDTH,HEIGHT``; raises ``ConfigError``."""
    return None if text is None else parse_roi(text)


def as_masks(texts: list[str] | None) -> Masks:
    """Polygons, each once; raises ``ConfigError``."""
    return tuple(dict.fromkeys(parse_polygon(text) for text in texts or ()))


def parse_depth(text: str | None) -> int | None:
    """A number of bits; raises ``ConfigError``."""
    if text is None or text == "auto":
        return None
    if text.isdecimal() and 8 <= int(text) <= FULL_DEPTH:
        return int(text)
    raise ConfigError(f"--bit-depth is {text!r}; give the bits that a pixel has, 8 to {FULL_DEPTH}, such as 12.")


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Height and width from ``SIZE`` or ``HEIGHTxWIDTH``; None for ``auto``. Raises ``ConfigError``."""
    if text is None or text.lower() == "auto":
        return None
    parts = text.lower().split("x")
    if len(parts) not in (1, 2) or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"--image-size {text!r} is not auto, SIZE or HEIGHTxWIDTH in pixels, such as 224 or 256x384.")
    return int(parts[0]), int(parts[-1])
