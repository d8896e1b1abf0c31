"""Rectangles in pixels and polygons in fractions of a frame, said once for bundles, lines and pictures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from ..errors import ConfigError

__all__ = ["Masks", "Polygon", "Roi", "Share", "as_polygons", "parse_polygon", "parse_roi"]

Roi = tuple[int, int, int, int]
"""A rectangle in frame pixels as OpenCV writes it: x, y, width, height."""

Share = Annotated[float, Field(ge=0, le=1)]
Polygon = Annotated[tuple[tuple[Share, Share], ...], Field(min_length=3, max_length=1000)]
"""Corners x, y as fractions of the frame's width and height, from its upper left corner."""
Masks = Annotated[tuple[Polygon, ...], Field(max_length=100)]
"""Polygons within which nothing counts."""

_MASKS: TypeAdapter[tuple[Polygon, ...]] = TypeAdapter(Masks)


def as_polygons(polygons: Iterable[Iterable[Iterable[float]]]) -> tuple[Polygon, ...]:
    """Check polygons, such as lists of lists of two numbers.

    Raises:
        ConfigError: fewer than three points, or one outside of [0, 1]; or more than 100 polygons of 1,000 points.
    """
    try:
        return _MASKS.validate_python(tuple(tuple(tuple(point) for point in polygon) for polygon in polygons))
    except (ValidationError, TypeError):
        raise ConfigError(
            "An ignore polygon needs three points or more, each x and y as fractions of the frame between 0 and 1."
        ) from None


def parse_polygon(text: str) -> Polygon:
    """A polygon from ``x,y x,y x,y``, corners in fractions of the frame.

    Raises:
        ConfigError: it is not that.
    """
    try:
        return as_polygons([[tuple(map(float, corner.split(","))) for corner in text.split()]])[0]
    except (ValueError, ConfigError):
        raise ConfigError(
            f"The mask {text!r} is not three or more corners in fractions of the frame, such as '0,0 0.2,0 0.2,0.1'."
        ) from None


def parse_roi(text: str) -> Roi:
    """A rectangle from ``X,Y,WIDTH,HEIGHT`` in pixels.

    Raises:
        ConfigError: it is not that.
    """
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(f"--roi {text!r} is not X,Y,WIDTH,HEIGHT in pixels, such as 170,90,300,300.")
    x, y, width, height = (int(part) for part in parts)
    return x, y, width, height
