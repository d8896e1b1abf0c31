"""The coreset is that of sequential greedy k-center, on easy and on nasty pools, in memory and on disk."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from patchcore_edge.fit.feature_store import FeatureFile
from patchcore_edge.models import KCenterGreedy
from patchcore_edge.models import k_center_greedy as module
from patchcore_edge_runtime.errors import ConfigError


def normal(count: int, dimensions: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)


def clusters() -> np.ndarray:
    """Ten dense clumps, far apart, far from the origin; one of them a single point."""
    centers = 50 * normal(10, seed=1) + 300
    points = [centers[i] + 0.01 * normal(200, seed=10 + i) for i in range(9)]
    return np.concatenate([*points, centers[9:]]).astype(np.float32)


def cells(folder: Path) -> np.ndarray:
    """7x7 pixel patches of real images."""
    images = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in sorted(folder.glob("images/*.png"))[:6]]
    return np.concatenate(
        [image[:294, :294].reshape(42, 7, 42, 7).swapaxes(1, 2).reshape(-1, 49) for image in images]
    ).astype(np.float32)


def require_greedy(pool: np.ndarray, picks: list[int]) -> None:
    """Each pick is, in float64, as far from those before it as any point, float32 rounding aside."""
    points = pool.astype(np.float64)
    scale = np.linalg.norm(points - points.mean(0), axis=1).max()
    nearest = np.full(len(points), np.inf)
    assert len(set(picks)) == len(picks)
    for place, pick in enumerate(picks):
        if place:
            assert nearest[pick] >= nearest.max() - 2e-3 * scale
        nearest = np.minimum(nearest, np.linalg.norm(points - points[pick], axis=1))


POOLS = {
    "random": (normal(3000), 0.1),
    "everything": (normal(1500), 1.0),
    "duplicates only": (np.ones((2500, 4), np.float32), 0.9),
    "each point ten times": (np.repeat(normal(150), 10, axis=0), 0.5),
    "one point": (normal(1), 1.0),
    "fewer than a round's candidates": (normal(50), 0.5),
    "clusters far from the origin": (clusters(), 0.05),
    "one dimension": (normal(2000, 1), 0.1),
}


@pytest.mark.parametrize("name", POOLS)
def test_every_pick_is_the_farthest_point(name: str) -> None:
    pool, ratio = POOLS[name]
    sampler = KCenterGreedy(torch.from_numpy(pool), ratio)
    picks = sampler.select_coreset_idxs()
    assert len(picks) == sampler.coreset_size == max(1, int(len(pool) * ratio))
    require_greedy(pool, picks)
    distances = np.array(sampler.pick_distances[1:])
    assert (np.diff(distances) <= 2e-3 * max(distances, default=0)).all()


def test_every_pick_is_the_farthest_patch_of_real_images(elpv_folder: Path) -> None:
    pool = cells(elpv_folder)
    require_greedy(pool, KCenterGreedy(torch.from_numpy(pool), 0.05).select_coreset_idxs())


def test_the_same_seed_gives_the_same_picks_and_another_seed_another_start() -> None:
    pool = torch.from_numpy(normal(2000))
    first, again, other = (KCenterGreedy(pool, 0.05, seed).select_coreset_idxs() for seed in (3, 3, 4))
    assert first == again
    assert first[0] != other[0]


def test_many_picks_take_few_passes_over_the_pool() -> None:
    pool = torch.from_numpy(normal(40_000))
    sampler = KCenterGreedy(pool, 0.02)
    assert len(sampler.select_coreset_idxs()) == 800
    assert sampler.rounds < 40


def test_small_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = normal(3000)
    whole = KCenterGreedy(torch.from_numpy(pool), 0.05).select_coreset_idxs()
    monkeypatch.setattr(module, "_BLOCK_ELEMENTS", 8 * 100)
    blocks = KCenterGreedy(torch.from_numpy(pool), 0.05).select_coreset_idxs()
    require_greedy(pool, blocks)
    assert blocks[:50] == whole[:50]


def test_without_onednn_the_picks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = normal(3000)
    fast = KCenterGreedy(torch.from_numpy(pool), 0.05).select_coreset_idxs()
    monkeypatch.setattr(module, "_ONEDNN", None)
    plain = KCenterGreedy(torch.from_numpy(pool), 0.05).select_coreset_idxs()
    require_greedy(pool, plain)
    assert plain[:50] == fast[:50]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_pool_on_disk_gives_what_the_same_pool_in_memory_gives(dtype: str, tmp_path: Path) -> None:
    pool = normal(3000).astype(dtype)
    pool.tofile(tmp_path / "pool.bin")
    mapped = np.memmap(tmp_path / "pool.bin", dtype, "r", shape=pool.shape)
    file = FeatureFile(tmp_path / "pool.bin", *pool.shape, dtype)
    wanted = KCenterGreedy(torch.from_numpy(pool), 0.05).select_coreset_idxs()
    assert KCenterGreedy(mapped, 0.05).select_coreset_idxs() == wanted
    sampler = KCenterGreedy(file, 0.05)
    assert sampler.select_coreset_idxs() == wanted
    assert torch.equal(sampler.sample_coreset(), torch.from_numpy(pool[wanted]).float())


def test_a_size_in_place_of_a_ratio() -> None:
    pool = torch.from_numpy(normal(100))
    assert len(KCenterGreedy(pool, 0.5, size=7).sample_coreset()) == 7
    assert len(KCenterGreedy(pool, 0.5, size=1000).sample_coreset()) == 100


def test_a_projection_keeps_the_coreset_a_good_cover() -> None:
    pool = normal(2000, 600)
    exact = KCenterGreedy(torch.from_numpy(pool), 0.02)
    projected = KCenterGreedy(torch.from_numpy(pool), 0.02, projection_eps=0.9)
    # Chosen in other dimensions, the picks are others.
    assert projected.select_coreset_idxs() != exact.select_coreset_idxs()
    assert projected.select_coreset_idxs() == projected.select_coreset_idxs()
    radii = [_radius(pool, sampler.select_coreset_idxs()) for sampler in (exact, projected)]
    assert radii[1] < 1.15 * radii[0]
    assert projected.sample_coreset().shape == (40, 600)


def test_few_dimensions_are_not_projected() -> None:
    pool = torch.from_numpy(normal(2000, 20))
    assert (
        KCenterGreedy(pool, 0.02, projection_eps=0.9).select_coreset_idxs()
        == KCenterGreedy(pool, 0.02).select_coreset_idxs()
    )


@pytest.mark.parametrize(
    ("pool", "options", "said"),
    [
        (np.zeros((0, 4), np.float32), {}, "at least one image"),
        (normal(9), {"size": 0}, "size is 0"),
        (normal(9), {"projection_eps": 1.5}, "distortion is 1.5"),
    ],
)
def test_impossible_coresets_are_refused(pool: np.ndarray, options: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        KCenterGreedy(torch.from_numpy(pool), 0.5, **options)  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none")
def test_a_gpu_picks_the_farthest_points_too() -> None:
    pool = normal(20_000, 64)
    sampler = KCenterGreedy(torch.from_numpy(pool).cuda(), 0.02)
    require_greedy(pool, sampler.select_coreset_idxs())
    assert sampler.sample_coreset().is_cuda


def _radius(pool: np.ndarray, picks: list[int]) -> float:
    nearest = np.full(len(pool), np.inf)
    for pick in picks:
        nearest = np.minimum(nearest, np.linalg.norm(pool - pool[pick], axis=1))
    return float(nearest.max())
