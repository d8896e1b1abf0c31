"""The export's graph gives what the training model gives: any batch, any shape, any backbone that takes RGB."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from patchcore_edge.models import Patchcore
from patchcore_edge_export.graph.edge_model import EdgeModel
from patchcore_edge_export.graph.fast_search import FastPlan
from patchcore_edge_runtime.bundle.recipe import PcaOptions, ScoreRule
from patchcore_edge_runtime.errors import ConfigError

PLAN = FastPlan(dimensions=32, patches=512, correlation=0.2, clip_limit=10.0)
"""More patches than there are: fast search is exact then, and can be compared with torch."""


def _frames(batch: int, size: tuple[int, int], seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    # Smooth pictures: white noise looks the same to every network.
    coarse = torch.randint(0, 256, (batch, 3, 8, 8), generator=generator).float()
    pixels = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 255)
    return pixels.permute(0, 2, 3, 1).to(torch.uint8).contiguous()


def _fitted(
    size: tuple[int, int],
    backbone: str = "resnet18",
    layers: tuple[str, ...] = ("layer2", "layer3"),
    num_neighbors: int = 3,
    **recipe: Any,
) -> Patchcore:
    torch.manual_seed(0)
    model = Patchcore(
        backbone,
        layers,
        pre_trained=False,
        coreset_sampling_ratio=0.2,
        num_neighbors=num_neighbors,
        pre_processor=Patchcore.configure_pre_processor(size),
        **recipe,
    )
    from patchcore_edge.data import Batch

    frames = _frames(6, size, seed=1)
    model.training_step(Batch(frames, torch.zeros(6, dtype=torch.bool), None, ()))
    model.fit()
    return model


def _assert_same(model: Patchcore, edge: EdgeModel, frames: torch.Tensor) -> None:
    expected = model(frames)
    with torch.inference_mode():
        score, anomaly_map = edge(frames)
    assert score.shape == (len(frames),)
    assert anomaly_map.shape == (len(frames), 1, *frames.shape[1:3])
    torch.testing.assert_close(score, expected.pred_score, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(anomaly_map, expected.anomaly_map, rtol=1e-3, atol=1e-3 * float(score.max()))


@pytest.mark.parametrize("plan", [None, PLAN], ids=["exact", "fast"])
@pytest.mark.parametrize(("batch", "size"), [(1, (64, 64)), (3, (64, 64)), (2, (48, 112)), (1, (70, 50))])
def test_batches_and_shapes_score_as_the_training_model_does(
    batch: int, size: tuple[int, int], plan: FastPlan | None
) -> None:
    model = _fitted(size)
    _assert_same(model, EdgeModel(model, plan), _frames(batch, size))


@pytest.mark.parametrize(
    ("backbone", "layers"),
    [
        ("tf_efficientnet_lite0", ("blocks.1", "blocks.2")),
        ("mobilenetv3_small_050", ("blocks.1", "blocks.3")),
        ("convnext_femto", ("stages.0", "stages.1")),
        ("resnet18", ("layer1",)),
    ],
)
def test_backbones_score_as_the_training_model_does(backbone: str, layers: tuple[str, ...]) -> None:
    model = _fitted((64, 64), backbone, layers)
    _assert_same(model, EdgeModel(model), _frames(2, (64, 64)))


@pytest.mark.parametrize("plan", [None, PLAN], ids=["exact", "fast"])
def test_without_reweighting_the_score_is_the_largest_distance(plan: FastPlan | None) -> None:
    model = _fitted((64, 64), num_neighbors=1)
    _assert_same(model, EdgeModel(model, plan), _frames(2, (64, 64)))


@pytest.mark.parametrize("plan", [None, PLAN], ids=["exact", "fast"])
@pytest.mark.parametrize("rule", list(ScoreRule))
def test_ignored_patches_have_no_score_in_the_graph_either(rule: ScoreRule, plan: FastPlan | None) -> None:
    corner = (((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5)),)
    model = _fitted((64, 64), score=rule, ignore_masks=corner)
    assert not set(model.coreset_rows) & {image * 64 + place for image in range(6) for place in _places(4)}
    frames = _frames(2, (64, 64))
    _assert_same(model, EdgeModel(model, plan), frames)
    assert model(frames).anomaly_map[:, 0, :8, :8].max() < 0.1 * model(frames).anomaly_map.max()


def _places(side: int) -> list[int]:
    """Of the patches of an 8x8 grid those in its upper left square."""
    return [row * 8 + column for row in range(side) for column in range(side)]


def test_exporting_leaves_the_training_model_as_it_was() -> None:
    model = _fitted((64, 64))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    EdgeModel(model)
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_a_backbone_that_does_not_begin_with_rgb_pixels_is_refused_in_a_sentence() -> None:
    model = _fitted((64, 64))
    model.model.feature_extractor.network.conv1 = torch.nn.Conv2d(4, 64, 7)
    with pytest.raises(ConfigError, match="RGB"):
        EdgeModel(model)


@pytest.mark.parametrize("plan", [None, PLAN], ids=["exact", "fast"])
@pytest.mark.parametrize("rule", list(ScoreRule))
@pytest.mark.parametrize("pca", [None, PcaOptions(dimensions=48, whitening=0.5)], ids=["identity", "pca"])
def test_every_recipe_scores_as_the_training_model_does(
    rule: ScoreRule, pca: PcaOptions | None, plan: FastPlan | None
) -> None:
    model = _fitted((64, 80), score=rule, pca=pca)
    assert model.model.memory_bank.shape[1] == (384 if pca is None else 48)
    _assert_same(model, EdgeModel(model, plan), _frames(2, (64, 80)))
