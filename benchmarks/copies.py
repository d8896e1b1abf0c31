"""Writes the table of copies in ``docs/thresholds.md``: python -m benchmarks.copies [--shared DIR].

Good parts and second pictures of them, made by what happens to pictures: which of them are found to show one part, and
which different parts are taken for one. A perceptual hash with fixed limits stands beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from patchcore_edge.data import DataModule
from patchcore_edge.data.perceptual_hash import perceptual_hash
from patchcore_edge.fit.copies import find_parts

from .thresholds import write
from .works import Work, all_works

PARTS = 40
HASH_LIMITS = (4, 8, 12)
_SEED = 0


def _moved(image: np.ndarray, share: float = 0.0, degrees: float = 0.0, scale: float = 1.0) -> np.ndarray:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)
    matrix[:, 2] += share * width, share * height
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def _noisy(image: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(_SEED).normal(0, deviation, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def _brighter(image: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(image * factor, 0, 255).astype(np.uint8)


def _saved(image: np.ndarray, quality: int) -> np.ndarray:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


AGAIN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "the same": lambda image: image.copy(),
    "JPEG, quality 60": lambda image: _saved(image, 60),
    "5 % brighter": lambda image: _brighter(image, 1.05),
    "noise of 3 grey levels": lambda image: _noisy(image, 3),
    "moved by 1 %": lambda image: _moved(image, 0.01),
    "moved by 2 %": lambda image: _moved(image, 0.02),
    "moved by 4 %": lambda image: _moved(image, 0.04),
    "turned by 1 degree": lambda image: _moved(image, degrees=1),
    "turned by 3 degrees": lambda image: _moved(image, degrees=3),
    "2 % larger": lambda image: _moved(image, scale=1.02),
    "shot again (1 % moved, 3 % brighter, noise)": lambda image: _noisy(_brighter(_moved(image, 0.01), 1.03), 3),
}


def rows(work: Work) -> Iterator[str]:
    """One for each way to take a picture again: shares found, and pairs of different parts taken for one."""
    model = work.model()
    model.model.train()
    dataset = DataModule.dataset(work.data.train[:PARTS], model.pre_processor.spec)
    images = [dataset.image(index) for index in range(len(dataset))]
    for name, make in AGAIN.items():
        everything = images + [make(image) for image in images]
        with torch.inference_mode():
            pool = torch.cat([model.model(model.pre_processor(torch.from_numpy(one)[None])) for one in everything])
        side = int((len(pool) // len(everything)) ** 0.5)
        hashes = [perceptual_hash(one) for one in everything]
        part = find_parts(pool, (side, side), [str(index) for index in range(len(everything))], (), hashes).part
        figures = _figures(partial(_together, part), len(images))
        yield f"| {work.name} | {name} | {figures} | {_hashed(everything)} |"


def _together(part: NDArray[np.int64], a: int, b: int) -> bool:
    return bool(part[a] == part[b])


def _near(hashes: Sequence[NDArray[np.bool_]], limit: int, a: int, b: int) -> bool:
    return bool((hashes[a] != hashes[b]).sum() <= limit)


def _figures(same: Callable[[int, int], bool], count: int) -> str:
    found = sum(same(index, count + index) for index in range(count))
    wrong = sum(same(a, b) for a, b in combinations(range(count), 2))
    return f"{found} of {count}, {wrong}"


def _hashed(images: list[np.ndarray]) -> str:
    hashes = [perceptual_hash(image) for image in images]
    return " | ".join(_figures(partial(_near, hashes, limit), len(images) // 2) for limit in HASH_LIMITS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, help="folder with data/magnetic_tile and weights/")
    options = parser.parse_args()
    table = []
    for work in all_works(options.shared)[:3]:
        for row in rows(work):
            print(row, flush=True)
            table.append(row)
        write("copies", table)


if __name__ == "__main__":
    main()
