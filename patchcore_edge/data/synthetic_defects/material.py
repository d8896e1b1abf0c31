"""What happens to material: it is torn, foreign, missing or misplaced. The texture is replaced."""

from __future__ import annotations

import cv2
import numpy as np

from patchcore_edge_runtime.images.preprocess import Image

from .shapes import blob, cloud, rotated
from .site import Layer, Pixels, Site

__all__ = ["cut_paste", "foreign", "missing", "torn"]

_TRIES = 12
_MOSTLY = 0.9
"""Background enough to be taken for it."""


def torn(site: Site, rng: np.random.Generator) -> Layer:
    """Displaced texture, fading outwards: along both sides of a tear that gapes, or bent and shaded as a wrinkle is."""
    angle = float(rng.uniform(0, np.pi))
    fade = blob(site, rng, soft=max(2.0, site.size / 2.5), aspect=(1, 1.5), angle=angle)
    far = max(1.5, site.size / 4 * float(rng.uniform(0.5, 1)) * (0.25 + 0.75 * site.strength))
    if rng.random() < 0.4:
        return Layer((fade > 0).astype(np.float32), _wrinkled(site, rng, fade, far))
    across = rotated(site, angle)[1] + site.size / 10 * cloud(site.shape, max(3.0, site.size / 4), rng)
    side = np.sign(across)
    slip = far * float(rng.uniform(-1, 1))
    gap = far * (0.15 + 0.5 * site.strength) * np.clip(1.2 * fade - 0.2, 0, 1)
    along_x, along_y, out_x, out_y = np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)
    content = _displaced(
        site, fade * side * slip * along_x + side * gap * out_x, fade * side * slip * along_y + side * gap * out_y
    )
    open_ = np.clip(gap - np.abs(across) + 0.5, 0, 1) * (gap > 0.3)
    beneath = np.clip(site.low.mean((0, 1)) + site.sign(rng) * site.amplitude, 0, 255) + site.grain(rng)
    content += open_[..., None] * (beneath - content)
    return Layer((fade > 0).astype(np.float32), np.asarray(content, np.float32))


def _wrinkled(site: Site, rng: np.random.Generator, fade: Pixels, far: float) -> Pixels:
    """Displaced every which way; slopes that face a light from the left are brighter, the others darker."""
    x, y = (fade * far * cloud(site.shape, site.size / 1.5, rng) for _ in range(2))
    slope = cv2.Sobel(cv2.GaussianBlur(x, (0, 0), 1), cv2.CV_32F, 1, 0)
    shade = 0.6 * site.amplitude / max(1e-3, float(np.abs(slope).max())) * slope
    return np.asarray(_displaced(site, x, y) + shade[..., None], np.float32)


def _displaced(site: Site, x: Pixels, y: Pixels) -> Pixels:
    """``[h,w,3]``: the patch, each pixel taken from ``x`` columns and ``y`` rows before."""
    rows, columns = np.indices(site.shape, dtype=np.float32)
    at = (np.asarray(columns - x, np.float32), np.asarray(rows - y, np.float32))
    return np.asarray(cv2.remap(site.patch, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.float32)


def foreign(site: Site, rng: np.random.Generator) -> Layer:
    """A texture of another part's picture, or a made one, blended in (DRAEM, Zavrtanik et al. 2021)."""
    alpha = blob(
        site, rng, soft=float(rng.uniform(0.8, max(1.0, site.size / 6))), ragged=0.25, sides=int(rng.choice((0, 5)))
    )
    if site.other is not None and rng.random() < 0.5:
        content = _levelled(site, _anywhere(site.other(), site, rng, scale=(0.5, 1.5)))
        return Layer((0.4 + 0.6 * site.strength) * alpha, content)
    pattern = _pattern(site, rng)[..., None] * site.tint(rng)
    return Layer(alpha, np.asarray(site.low + site.amplitude * pattern + site.grain(rng), np.float32))


def _pattern(site: Site, rng: np.random.Generator) -> Pixels:
    """``[h,w]`` in about [-1.5, 1.5]: stripes, a weave, coarse or fine clouds."""
    period = float(np.exp(rng.uniform(np.log(3), np.log(max(4.0, site.size)))))
    look = int(rng.integers(4))
    if look > 1:
        return cloud(site.shape, period if look == 2 else 2.0, rng)
    along, across = rotated(site, float(rng.uniform(0, np.pi)))
    wave = np.sin(2 * np.pi / period * along + cloud(site.shape, 2 * period, rng))
    return np.asarray(wave * np.sin(2 * np.pi / period * across) * 1.4 if look else wave, np.float32)


def missing(site: Site, rng: np.random.Generator) -> Layer:
    """A piece of the part gone, or thin: the background shows, or a flat ground where the picture has none."""
    sides = int(rng.choice((0, 5, 6)))
    alpha = blob(site, rng, soft=1.0, ragged=0.12 if sides else 0.3, sides=sides, aspect=(1, 2))
    ground, opacity = _background(site, rng), 0.3 + 0.7 * site.strength
    if ground is None:
        opacity = 1.0
        inside = np.average(site.low, axis=(0, 1), weights=np.repeat(alpha[..., None], 3, 2) + 1e-6)
        level = site.low + site.strength * (inside - site.low) + site.sign(rng) * site.amplitude
        ground = np.clip(level + site.contrast * cloud(site.shape, site.size, rng)[..., None], 0, 255) + site.grain(rng)
    elif site.on_part.max() > 0.5:
        alpha = alpha * site.on_part
    depth = cv2.GaussianBlur(alpha, (0, 0), max(1.0, site.size / 12))
    shaded = ground * (1 - 0.5 * site.strength * np.clip(1.6 - 1.6 * depth, 0, 1))[..., None]
    return Layer(opacity * alpha, np.asarray(shaded, np.float32))


def _background(site: Site, rng: np.random.Generator) -> Pixels | None:
    """``[h,w,3]`` of the picture where it is mostly background, else its background's colour; None without one."""
    if site.part.all():
        return None
    height, width = site.shape
    for _ in range(_TRIES):
        y, x = (int(rng.integers(0, all_ - some + 1)) for all_, some in zip(site.part.shape, site.shape, strict=True))
        place = (slice(y, y + height), slice(x, x + width))
        if 1 - site.part[place].mean() > _MOSTLY:
            return site.image[place].astype(np.float32)
    colour = np.median(site.image[~site.part], axis=0).astype(np.float32)
    return np.asarray(colour + site.grain(rng), np.float32)


def cut_paste(site: Site, rng: np.random.Generator) -> Layer:
    """A piece of the same picture, turned, put elsewhere (CutPaste, Li et al. 2021).

    The weaker it is the more it takes the brightness of its new place, which is what Poisson blending does (NSA,
    Schlüter et al. 2022); by two frequency bands here (Burt and Adelson 1983), which needs no solver.
    """
    alpha = blob(site, rng, soft=0.8, ragged=0.15 * float(rng.random() < 0.5), sides=int(rng.choice((0, 4, 5))))
    content = _anywhere(site.image, site, rng, scale=(0.8, 1.25)) * (
        1 + 0.3 * site.strength * float(rng.uniform(-1, 1))
    )
    return Layer(alpha, _levelled(site, content))


def _levelled(site: Site, content: Pixels) -> Pixels:
    """The weaker, the more it has the brightness of the place."""
    return np.asarray(content + (1 - site.strength) * (site.low - site.smooth(content)), np.float32)


def _anywhere(source: Image, site: Site, rng: np.random.Generator, scale: tuple[float, float]) -> Pixels:
    """``[h,w,3]``: a piece of ``source`` around some point that is not the site's centre, turned and scaled."""
    sides, centre = np.array(source.shape[:2]), np.array(site.centre)
    points = rng.uniform(0, 1, (4, 2)) * (sides - 1)
    point = points[int(np.argmax(np.abs(points - centre).max(1) > site.size))]
    angle = float(rng.choice((90, 180, 270))) + float(rng.normal(0, 15))
    matrix = cv2.getRotationMatrix2D((float(point[1]), float(point[0])), angle, 1 / float(rng.uniform(*scale)))
    y, x = site.offsets
    matrix[:, 2] += -point[1] - x[0, 0], -point[0] - y[0, 0]
    piece = cv2.warpAffine(source, matrix, site.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return piece.astype(np.float32)
