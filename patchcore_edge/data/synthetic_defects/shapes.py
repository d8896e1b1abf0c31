"""Outlines of defects: blobs, strokes and clouds, on a site's window."""

from __future__ import annotations

import cv2
import numpy as np

from .site import Pixels, Site

__all__ = ["blob", "cloud", "rotated", "stroke"]

_SHIFT = 4
"""OpenCV draws at sixteenths of a pixel."""
_POINTS = 24


def cloud(shape: tuple[int, int], grain: float, rng: np.random.Generator) -> Pixels:
    """``[h,w]``: smooth noise in [-1.5, 1.5], two octaves of the lattice noise that DRAEM uses (Perlin 1985).

    Args:
        shape: height and width.
        grain: distance of its coarser lattice, pixels.
        rng: gives the lattices.
    """
    noise = np.zeros(shape, np.float32)
    for weight, step in ((1.0, grain), (0.5, grain / 2)):
        lattice = [max(2, round(side / max(step, 1.0)) + 1) for side in shape]
        values = rng.standard_normal(lattice, np.float32)
        noise += weight * cv2.resize(values, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(noise, -1.5, 1.5), np.float32)


def rotated(site: Site, angle: float) -> tuple[Pixels, Pixels]:
    """``[h,w]`` each: coordinates along ``angle`` and across it, pixels from the centre."""
    y, x = site.offsets
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def blob(
    site: Site,
    rng: np.random.Generator,
    *,
    soft: float = 1.0,
    ragged: float = 0.0,
    sides: int = 0,
    aspect: tuple[float, float] = (1.0, 3.0),
    angle: float | None = None,
) -> Pixels:
    """``[h,w]`` in [0, 1]: an ellipse or a polygon of the site's size.

    Args:
        site: where.
        rng: gives what is not said.
        soft: width of its edge, pixels.
        ragged: how far noise moves its edge, in half sizes; below 0.4.
        sides: 0 for an ellipse, 4 for a rectangle, else those of an irregular polygon; some may be cut off.
        aspect: least and largest ratio of its sides, each at most 3.
        angle: of the longer side, radians; None for any.
    """
    ratio = float(np.exp(rng.uniform(*np.log(aspect))) ** 0.5)
    along, across = rotated(site, rng.uniform(0, np.pi) if angle is None else angle)
    inside = 1 - _distance(along / (site.size / 2 * ratio), across / (site.size / 2 / ratio), sides, rng)
    if ragged:
        inside += ragged * cloud(site.shape, site.size / float(rng.uniform(2, 6)), rng)
    return np.asarray(np.clip(inside * (site.size / 2 / ratio / max(soft, 0.5)) + 0.5, 0, 1), np.float32)


def _distance(u: Pixels, v: Pixels, sides: int, rng: np.random.Generator) -> Pixels:
    """``[h,w]``: 1 on the outline, less inside."""
    if not sides:
        return np.asarray(np.sqrt(u * u + v * v), np.float32)
    if sides == 4:
        return np.maximum(np.abs(u), np.abs(v))
    turns = 2 * np.pi / sides * (np.arange(sides) + rng.uniform(-0.35, 0.35, sides))
    faces = [(u * np.float32(np.cos(turn)) + v * np.float32(np.sin(turn))) for turn in turns]
    return np.asarray(np.maximum.reduce([face / float(rng.uniform(0.7, 1)) for face in faces]), np.float32)


def stroke(
    site: Site, rng: np.random.Generator, length: float, width: float, heading: float, *, bend: float, jagged: float
) -> Pixels:
    """``[h,w]`` in [0, 1]: a line through the centre.

    Args:
        site: where.
        rng: gives what is not said.
        length: pixels, at most three sizes.
        width: pixels; a line narrower than one is fainter instead.
        heading: radians.
        bend: how much the heading changes from end to end, radians.
        jagged: standard deviation of each of its pieces' headings, radians.
    """
    headings = heading + bend * np.linspace(-0.5, 0.5, _POINTS) + jagged * rng.standard_normal(_POINTS)
    steps = length / _POINTS * np.stack([np.cos(headings), np.sin(headings)], 1)
    points = np.cumsum(steps, axis=0)
    points = points - points.mean(0)
    y, x = site.offsets
    corner = np.array([x[0, 0], y[0, 0]], np.float64)
    drawn = np.zeros(site.shape, np.uint8)
    at = np.round((points - corner) * 2**_SHIFT).astype(np.int32)
    cv2.polylines(drawn, [at], False, 255, max(1, round(width)), cv2.LINE_AA, _SHIFT)
    soft = cv2.GaussianBlur(drawn, (0, 0), 0.5).astype(np.float32)
    return np.asarray(soft * (min(1.0, width) / max(float(soft.max()), 1.0)), np.float32)
