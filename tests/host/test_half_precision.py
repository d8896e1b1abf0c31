"""Features in half precision are taken where distances to a bank of them are right, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import TINY_BACKBONE, part

from patchcore_edge.fit.embedder import Embedder
from patchcore_edge.fit.feature_store import FeatureFile
from patchcore_edge.fit.half_precision import DISTANCE_LIMIT, distance_deviation, half_types
from patchcore_edge.models import KCenterGreedy, Patchcore
from patchcore_edge.models.pool import held_on

CPU = torch.device("cpu")


@pytest.fixture
def model(tiny_weights: Path) -> Patchcore:
    processor = Patchcore.configure_pre_processor((128, 128))
    return Patchcore(TINY_BACKBONE, ("layer2", "layer3"), pre_processor=processor, weights=tiny_weights)


@pytest.fixture
def frames() -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.stack([cv2.resize(part(rng), (128, 128)) for _ in range(4)]))


def test_half_precision_is_taken_where_distances_are_right(model: Patchcore, frames: torch.Tensor) -> None:
    whole, half = Embedder(model, 0), Embedder(model, 0, half=(torch.float16,))
    expected, rows = whole(frames), half(frames)
    assert (whole.precision, half.precision) == (None, torch.float16)
    assert rows.dtype == torch.float32
    assert not torch.equal(rows, expected)
    assert distance_deviation(rows, expected, len(frames)) <= DISTANCE_LIMIT


def test_a_type_that_moves_distances_gives_way_to_the_next_one(model: Patchcore, frames: torch.Tensor) -> None:
    # With random weights parts are so alike that bfloat16's eight bits show.
    embed = Embedder(model, 0, half=(torch.bfloat16, torch.float16))
    embed(frames)
    assert embed.precision is torch.float16


def test_where_no_type_will_do_features_are_in_single_precision_and_it_is_said(
    model: Patchcore, frames: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    embed = Embedder(model, 0, half=(torch.bfloat16,))
    rows = embed(frames)
    assert embed.precision is None
    assert "bfloat16 moves distances by" in caplog.text
    assert torch.equal(rows, Embedder(model, 0)(frames))


def test_features_that_are_no_numbers_are_never_right() -> None:
    rows = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    broken = rows.clone()
    broken[3] = torch.nan
    assert distance_deviation(rows, rows, 4) == 0
    assert not distance_deviation(broken, rows, 4) <= DISTANCE_LIMIT
    assert distance_deviation(rows, rows, 1) == 0


def test_a_cpu_does_not_try_half_precision() -> None:
    assert half_types(CPU) == ()


def test_a_pool_moves_to_a_device_that_has_room_and_stays_where_it_is_else(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(500, 24)).astype(np.float16)
    rows.tofile(tmp_path / "features.bin")
    file = FeatureFile(tmp_path / "features.bin", 500, 24, "float16")
    moved = held_on(CPU, file, lambda device: 4 * 500 * 24 * 2)
    assert isinstance(moved, torch.Tensor)
    assert torch.equal(moved, torch.from_numpy(rows).float())
    assert KCenterGreedy(moved, 0.1).select_coreset_idxs() == KCenterGreedy(file, 0.1).select_coreset_idxs()
    assert held_on(CPU, file, lambda device: 4 * 500 * 24 * 2 - 1) is file
    assert held_on(CPU, moved, lambda device: 0) is moved
