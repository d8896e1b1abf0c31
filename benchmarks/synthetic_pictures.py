"""The contact sheet of ``docs/synthetic-defects.md``: solar cells of the package, and parts drawn here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from patchcore_edge.data.synthetic_defects import KINDS, SyntheticDefect, make_defects
from patchcore_edge_runtime.images.files import read_image
from patchcore_edge_runtime.images.preprocess import Image, PreprocessSpec, preprocess
from samples.demo.cells import cell_files

__all__ = ["write_pictures"]

_SIDE, _SHOWN, _DRAWN = 224, 96, 132
_STRENGTHS = (0.1, 0.5, 0.9)
_IMAGES = 56
_LABEL = 88


def write_pictures(path: Path) -> None:
    """Write the sheet as JPEG: a row for each kind."""
    sets = [list(make_defects(images, seed=seed)) for seed, images in enumerate((_cells(), _discs(), _fabrics()))]
    rows = [_row(kind, sets) for kind in KINDS]
    cv2.imwrite(str(path), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 82])


def _row(kind: str, sets: Sequence[Sequence[SyntheticDefect]]) -> Image:
    label = np.full((_DRAWN, _LABEL, 3), 255, np.uint8)
    cv2.putText(label, kind, (4, _DRAWN // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    shown = [_shown(defect) for defects in sets for defect in _chosen([one for one in defects if one.kind == kind])]
    return np.hstack([label, *shown])


def _chosen(defects: Sequence[SyntheticDefect]) -> list[SyntheticDefect]:
    return [min(defects, key=lambda defect: abs(defect.strength - wanted)) for wanted in _STRENGTHS]


def _shown(defect: SyntheticDefect) -> Image:
    """The defect in the middle of 96 pixels, the corners of its mask's rectangle marked."""
    x, y, width, height = cv2.boundingRect(defect.mask.astype(np.uint8))
    left, top = (min(max(at + side // 2 - _SHOWN // 2, 0), _SIDE - _SHOWN) for at, side in ((x, width), (y, height)))
    scale = _DRAWN / _SHOWN
    piece = cv2.resize(
        defect.image[top : top + _SHOWN, left : left + _SHOWN], (_DRAWN, _DRAWN), interpolation=cv2.INTER_CUBIC
    )
    for right, column in ((-1, x - left - 2), (1, x + width - left + 2)):
        for down, row in ((-1, y - top - 2), (1, y + height - top + 2)):
            at = (round(column * scale), round(row * scale))
            cv2.line(piece, at, (at[0] - 6 * right, at[1]), (60, 200, 60), 1)
            cv2.line(piece, at, (at[0], at[1] - 6 * down), (60, 200, 60), 1)
    framed = cv2.copyMakeBorder(piece, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    return np.asarray(framed[1:-1], np.uint8)


def _cells() -> list[Image]:
    """Solar cells, mono and poly by turns."""
    files = [file for pair in zip(*(cell_files(kind)[0] for kind in ("mono", "poly")), strict=False) for file in pair]
    chosen = files[:: len(files) // _IMAGES][:_IMAGES]
    return [preprocess(read_image(file), PreprocessSpec(height=_SIDE, width=_SIDE)) for file in chosen]


def _discs() -> list[Image]:
    """Grey discs with a ring on a striped belt."""
    rng = np.random.default_rng(0)
    discs = []
    for _ in range(_IMAGES):
        image = np.tile(np.array([70, 80, 90, 80], np.uint8).repeat(6), (_SIDE, _SIDE // 24 + 1))[:, :_SIDE].copy()
        middle = [int(v) for v in _SIDE // 2 + rng.integers(-6, 7, 2)]
        for radius, grey in ((76, 150), (40, 175), (34, 150)):
            cv2.circle(image, middle, radius, grey, -1, cv2.LINE_AA)
        discs.append(_noisy(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), 3, rng, one=True))
    return discs


def _fabrics() -> list[Image]:
    """A blue and brown weave under uneven light."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:_SIDE, :_SIDE].astype(np.float32)
    fabrics = []
    for _ in range(_IMAGES):
        shift = rng.uniform(0, 9, 2)
        warp, weft = np.sin(2 * np.pi * (x + shift[0]) / 9), np.sin(2 * np.pi * (y + shift[1]) / 9)
        over = (warp * weft > 0).astype(np.float32)[..., None]
        colour = over * np.array([120, 84, 60], np.float32) + (1 - over) * np.array([84, 104, 128], np.float32)
        light = 1 + 0.15 * np.abs(np.where(over[..., 0] > 0, warp, weft)) + 0.1 * (x / _SIDE - 0.5)
        fabrics.append(_noisy(cv2.GaussianBlur(colour * light[..., None], (0, 0), 0.8), 4, rng))
    return fabrics


def _noisy(image: Image | np.ndarray, sigma: float, rng: np.random.Generator, *, one: bool = False) -> Image:
    noise = rng.normal(0, sigma, (*image.shape[:2], 1 if one else 3))
    return np.clip(image + noise, 0, 255).astype(np.uint8)
