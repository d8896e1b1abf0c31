"""Patches at a chosen stride, of layers finer and coarser than it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from patchcore_edge.models import Patchcore, PatchcoreModel
from patchcore_edge.models.layer_merge import on_grid
from patchcore_edge_runtime.errors import ConfigError


def model(*layers: str, **recipe: int) -> PatchcoreModel:
    torch.manual_seed(0)
    return PatchcoreModel(layers, "resnet18", pre_trained=False, **recipe).eval()


def test_finer_layers_are_averaged_and_coarser_ones_interpolated_to_the_stride() -> None:
    chosen = model("layer1", "layer2", "layer3", patch_stride=8)
    images = torch.randn(2, 3, 64, 96)
    found = chosen.embed(images)
    assert found.shape[-2:] == (8, 12)
    assert chosen.patch_grid((64, 96)) == (8, 12)
    fine, same, coarse = (chosen.feature_pooler(one) for one in chosen.feature_extractor(images).values())
    expected = [F.avg_pool2d(fine, 2), same, F.interpolate(coarse, size=(8, 12), mode="bilinear")]
    assert torch.allclose(found, torch.cat(expected, 1), atol=1e-6)


def test_without_a_stride_the_networks_first_of_the_layers_sets_the_grid_in_whatever_order_they_are_named() -> None:
    assert model("layer1", "layer3").patch_grid((64, 64)) == (16, 16)
    assert model("layer3", "layer1").patch_grid((64, 64)) == (16, 16)


def test_a_stride_of_the_only_layer_changes_nothing() -> None:
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(model("layer2", patch_stride=8).embed(images), model("layer2").embed(images))


def test_cells_at_the_border_count_what_there_is_of_them() -> None:
    features = torch.arange(10.0).reshape(1, 1, 2, 5)
    averaged = on_grid(features, (1, 3))
    assert averaged.flatten().tolist() == [3.0, 5.0, 6.5]


@pytest.mark.parametrize("side", [64, 72, 100, 223])
def test_sides_that_no_stride_divides_have_a_grid_all_the_same(side: int) -> None:
    chosen = model("layer1", "layer2", patch_stride=16)
    assert chosen.embed(torch.zeros(1, 3, side, side)).shape[-2:] == chosen.patch_grid((side, side))


def test_patches_of_one_cell_are_the_layers_features() -> None:
    images = torch.randn(1, 3, 64, 64)
    chosen = model("layer2", patch_size=1)
    assert torch.allclose(chosen.embed(images), chosen.feature_extractor(images)["layer2"], atol=1e-5)


@pytest.mark.parametrize("recipe", [{"patch_stride": 12}, {"patch_stride": 0}, {"patch_size": 2}, {"patch_size": 0}])
def test_what_cannot_be_is_refused_with_a_remedy(recipe: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="give"):
        Patchcore("resnet18", ["layer2", "layer1"], pre_trained=False, **recipe)
