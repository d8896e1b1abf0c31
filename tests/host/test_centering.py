"""What all patches of an image have in common is taken off them, in whole or in part."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from patchcore_edge.models import Patchcore, PatchcoreModel
from patchcore_edge.models.centering import CenteredPool, centered
from patchcore_edge_runtime.errors import ConfigError

NONE = torch.zeros(0, dtype=torch.bool)


def test_a_change_of_all_places_alike_changes_no_centred_features() -> None:
    features = torch.randn(2, 6, 4, 5)
    shifted = features + torch.randn(2, 6, 1, 1)
    assert torch.allclose(centered(features, 1, NONE), centered(shifted, 1, NONE), atol=1e-5)
    half, shifted_half = centered(features, 0.5, NONE), centered(shifted, 0.5, NONE)
    assert torch.allclose(shifted_half - half, 0.5 * (shifted - features), atol=1e-5)
    assert centered(features, 0, NONE) is features


def test_what_is_ignored_is_not_in_the_mean() -> None:
    features = torch.randn(1, 3, 2, 4)
    ignored = torch.tensor([True, False] * 4)
    changed = features.clone()
    changed.flatten(2)[:, :, ignored] += 100
    counted = [centered(one, 1, ignored).flatten(2)[:, :, ~ignored] for one in (features, changed)]
    assert torch.allclose(*counted, atol=1e-5)
    assert counted[0].mean(2).abs().max() < 1e-5


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.floats(0.01, 1), st.integers(0, 1000), st.booleans())
def test_a_pool_is_centred_as_images_are(images: int, side: int, share: float, seed: int, hidden: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = torch.from_numpy(rng.normal(size=(images * side * side, 3)).astype(np.float32))
    counted = np.ones(side * side, np.bool_)
    counted[1:] = rng.random(side * side - 1) < 0.5
    features = rows.reshape(images, side, side, 3).permute(0, 3, 1, 2)
    ignored = torch.from_numpy(~counted) if hidden else NONE
    expected = PatchcoreModel.reshape_embedding(centered(features, share, ignored))
    pool = CenteredPool(rows, side * side, share, counted if hidden else None)
    some = rng.integers(0, len(rows), 7)
    assert len(pool) == len(rows)
    assert torch.allclose(pool[:], expected, atol=1e-5)
    assert torch.allclose(pool[some], expected[some], atol=1e-5)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="0 to 1"):
        Patchcore("resnet18", ["layer2"], pre_trained=False, centering=share)
