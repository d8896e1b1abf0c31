"""What happens to a surface: scratches, spots and smears. The texture beneath stays and is brightened or darkened."""

from __future__ import annotations

import cv2
import numpy as np

from .shapes import blob, cloud, rotated, stroke
from .site import Layer, Pixels, Site

__all__ = ["scratch", "smear", "spots"]


def scratch(site: Site, rng: np.random.Generator) -> Layer:
    """A thin line, bright or dark: one or several side by side, a jagged crack, or a groove with a lit edge."""
    length = site.size * float(rng.uniform(1.5, 2.5))
    width = float(np.exp(rng.uniform(np.log(0.7), np.log(max(1.4, min(site.cell, site.size) / 3)))))
    heading, bend = float(rng.uniform(0, np.pi)), float(rng.normal(0, 0.6))
    look = int(rng.integers(4))
    sign = site.sign(rng)
    jagged = 0.6 if look == 0 else 0.03
    line = stroke(site, rng, length, width, heading, bend=bend, jagged=jagged)
    if look == 1:
        line = _several(site, rng, line, length, width, heading)
    elif look == 2:
        line = line - 0.8 * _moved(line, heading + np.pi / 2, max(1.0, width))
    faint = np.clip(0.85 + 0.5 * cloud(site.shape, max(4.0, length / 4), rng), 0.15, 1) if look else 1.0
    return _brightened(site, np.asarray(sign * line * faint, np.float32), site.tint(rng))


def _several(site: Site, rng: np.random.Generator, line: Pixels, length: float, width: float, heading: float) -> Pixels:
    """With one to three fainter ones beside it, as one grain or one brush leaves them."""
    for _ in range(int(rng.integers(1, 4))):
        reach = length * float(rng.uniform(0.3, 0.8))
        beside = stroke(site, rng, reach, width, heading + float(rng.normal(0, 0.05)), bend=0, jagged=0.03)
        away = float(rng.normal(0, site.size / 6 + width))
        line = np.maximum(line, float(rng.uniform(0.4, 1)) * _moved(beside, heading + np.pi / 2, away))
    return line


def spots(site: Site, rng: np.random.Generator) -> Layer:
    """One spot, a cluster of small ones, a stain with a rim, or a dent with a lit and a dark side."""
    maker = (_spot, _cluster, _stain, _dent)[int(rng.integers(4))]
    return _brightened(site, maker(site, rng), site.tint(rng))


def _spot(site: Site, rng: np.random.Generator) -> Pixels:
    alpha = blob(site, rng, soft=float(rng.uniform(0.8, 2.5)), ragged=float(rng.uniform(0, 0.25)), aspect=(1, 2))
    return site.sign(rng) * alpha


def _cluster(site: Site, rng: np.random.Generator) -> Pixels:
    """Three to eight dots, the larger ones the rarer, within the site's size."""
    y, x = site.offsets
    sign, drawn = site.sign(rng), np.zeros(site.shape, np.float32)
    for number in range(int(rng.integers(3, 9))):
        row, column = rng.normal(0, site.size / 4, 2) if number else (0.0, 0.0)
        radius = max(1.0, site.size / 5 * float(rng.uniform(0.25, 1)))
        away = np.sqrt((y - np.float32(row)) ** 2 + (x - np.float32(column)) ** 2)
        drawn = np.maximum(drawn, float(rng.uniform(0.6, 1)) * np.clip(radius - away + 0.5, 0, 1))
    return np.asarray(sign * drawn, np.float32)


def _stain(site: Site, rng: np.random.Generator) -> Pixels:
    """A dried drop: uneven inside, stronger at its rim."""
    alpha = blob(site, rng, soft=max(1.5, site.size / 8), ragged=0.3, aspect=(1, 2))
    rim = np.clip(4 * alpha * (1 - alpha), 0, 1)
    uneven = 0.55 + 0.25 * cloud(site.shape, max(3.0, site.size / 3), rng)
    return np.asarray(site.sign(rng) * alpha * np.clip(uneven + 0.45 * rim, 0, 1), np.float32)


def _dent(site: Site, rng: np.random.Generator) -> Pixels:
    """Light from one side: bright where the slope faces it, dark where not."""
    toward, _ = rotated(site, float(rng.uniform(0, 2 * np.pi)))
    y, x = site.offsets
    radius = np.float32(site.size / 2)
    away = np.sqrt(x * x + y * y) / radius
    return np.asarray(2.2 * toward / radius * np.clip(1 - away * away, 0, 1), np.float32)


def smear(site: Site, rng: np.random.Generator) -> Layer:
    """A streak wiped along one direction: blurred that way, with a film on it that is a little brighter or darker."""
    angle = float(rng.uniform(0, np.pi))
    alpha = blob(site, rng, soft=max(2.0, site.size / 5), ragged=0.2, aspect=(2.0, 3.0), angle=angle)
    wiped = cv2.filter2D(site.patch, -1, _line_kernel(site.size, angle), borderType=cv2.BORDER_REFLECT)
    along, across = rotated(site, angle)
    profile = cloud((1, 64), 8.0, rng)[0]
    place = np.clip(across / site.size * 40 + 32 + 0.05 * along, 0, 63).astype(np.intp)
    streaks = np.clip(0.55 + 0.6 * profile[place], 0, 1)
    film = site.sign(rng) * site.amplitude * float(rng.uniform(0.5, 1)) * site.tint(rng)
    content = site.patch + (0.5 + 0.5 * site.strength) * (wiped - site.patch) + film
    return Layer(np.asarray(alpha * streaks, np.float32), np.asarray(content, np.float32))


def _line_kernel(size: float, angle: float) -> Pixels:
    """Averages along a line; its length is a third of the size, from 3 to 21 pixels."""
    half = int(np.clip(size / 6, 1, 10))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    end = np.array([np.cos(angle), np.sin(angle)]) * half
    first, last = ([round(float(v)) for v in half + way * end] for way in (-1, 1))
    cv2.line(kernel, first, last, 1.0)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _moved(values: Pixels, angle: float, distance: float) -> Pixels:
    """Shifted along ``angle`` by so many pixels; what comes in is 0."""
    shift = np.array([[1, 0, distance * np.cos(angle)], [0, 1, distance * np.sin(angle)]], np.float32)
    return np.asarray(cv2.warpAffine(values, shift, values.shape[::-1]), np.float32)


def _brightened(site: Site, change: Pixels, tint: Pixels) -> Layer:
    """The patch changed by ``change``, ``[h,w]`` in units of the site's amplitude."""
    alpha = (np.abs(change) > 0.02).astype(np.float32)
    return Layer(alpha, np.asarray(site.patch + site.amplitude * change[..., None] * tint, np.float32))
