"""PatchCore in float64 NumPy, written from the paper (Roth et al. 2022) and from nothing else in this repository.

Slow and plain on purpose: loops where a loop is what the paper says.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def pool3(features: Array) -> Array:
    """3x3 neighbourhood average of ``[C,h,w]``; beyond the border are zeros that count (eq. 2, as implemented)."""
    channels, height, width = features.shape
    padded = np.zeros((channels, height + 2, width + 2))
    padded[:, 1:-1, 1:-1] = features
    pooled = np.zeros_like(features)
    for dy in range(3):
        for dx in range(3):
            pooled += padded[:, dy : dy + height, dx : dx + width]
    return pooled / 9


def resize(image: Array, height: int, width: int) -> Array:
    """Bilinear resize of ``[C,h,w]`` with pixel centres at half integers and the border repeated."""
    rows, columns = _taps(image.shape[1], height), _taps(image.shape[2], width)
    return np.einsum("yh,chw,xw->cyx", rows, image, columns)


def _taps(old: int, new: int) -> Array:
    matrix = np.zeros((new, old))
    for i in range(new):
        center = max((i + 0.5) * old / new - 0.5, 0.0)
        low = min(int(center), old - 1)
        high = min(low + 1, old - 1)
        matrix[i, low] += 1 - (center - low)
        matrix[i, high] += center - low
    return matrix


def embed(layers: list[Array]) -> Array:
    """Features ``[C,h,w]`` per layer → patches ``[P,D]`` on the first layer's grid, row by row."""
    height, width = layers[0].shape[1:]
    merged = np.concatenate([resize(pool3(layer), height, width) for layer in layers])
    return merged.reshape(len(merged), -1).T


def distances(x: Array, y: Array) -> Array:
    """Euclidean distances ``[n,m]``."""
    return np.sqrt(((x[:, None, :] - y[None, :, :]) ** 2).sum(2))


def greedy_coreset(pool: Array, count: int, first: int) -> list[int]:
    """Algorithm 1: each pick is the point farthest from all picks before it."""
    picks = [first]
    nearest = distances(pool, pool[[first]])[:, 0]
    while len(picks) < count:
        nearest[picks] = -1.0
        picks.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distances(pool, pool[[picks[-1]]])[:, 0])
    return picks


def image_score(patches: Array, bank: Array, neighbors: int) -> float:
    """Eq. 6 and 7 for one image; ``neighbors`` counts the nearest bank vector itself."""
    table = distances(patches, bank)
    nearest, where = table.min(1), table.argmin(1)
    worst = int(nearest.argmax())
    score = float(nearest[worst])
    if neighbors == 1 or len(bank) == 1:
        return score
    around = np.argsort(distances(bank[[where[worst]]], bank)[0], kind="stable")[: min(neighbors, len(bank))]
    to_support = distances(patches[[worst]], bank[around])[0]
    shifted = np.exp(to_support - to_support.max())
    # The nearest vector is at distance zero from itself: its own weight is what counts, wherever duplicates sort it.
    own = np.exp(score - to_support.max())
    return score * float(1 - own / shifted.sum())


def anomaly_map(patch_scores: Array, height: int, width: int, sigma: float = 4.0) -> Array:
    """Patch scores ``[h,w]`` → blurred map ``[H,W]``; the Gaussian is cut at 4 sigma, the border mirrored."""
    upsampled = resize(patch_scores[None], height, width)[0]
    radius = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(upsampled, radius, mode="reflect")
    down = np.apply_along_axis(np.convolve, 0, padded, kernel, "valid")
    return np.apply_along_axis(np.convolve, 1, down, kernel, "valid")


def patch_scores(patches: Array, bank: Array) -> Array:
    """Distance of each patch to the bank."""
    return distances(patches, bank).min(1)
