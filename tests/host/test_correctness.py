"""The torch model against the independent NumPy implementation of the paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from host import reference

from patchcore_edge.models import AnomalyMapGenerator, KCenterGreedy, PatchcoreModel

NEIGHBORS = (1, 9, 500)
SIZES = ((64, 64), (96, 64), (48, 80), (72, 104))


@pytest.fixture(scope="module")
def model() -> PatchcoreModel:
    torch.manual_seed(0)
    return PatchcoreModel(["layer2", "layer3"], "resnet18", pre_trained=False).eval()


def embeddings(model: PatchcoreModel, images: torch.Tensor) -> list[np.ndarray]:
    """Patches per image, from the network's features onwards in float64."""
    features = [feature.double().numpy() for feature in model.feature_extractor(images).values()]
    return [reference.embed([layer[i] for layer in features]) for i in range(len(images))]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", [1, 3])
def test_embeddings_are_pooled_and_merged_as_in_the_paper(
    model: PatchcoreModel, size: tuple[int, int], batch: int
) -> None:
    images = torch.randn(batch, 3, *size)
    expected = np.concatenate(embeddings(model, images))
    model.train()
    got = model(images).numpy()
    model.eval()
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("neighbors", NEIGHBORS)
@pytest.mark.parametrize("duplicates", [False, True])
def test_scores_and_maps_agree_with_the_paper(
    model: PatchcoreModel, size: tuple[int, int], neighbors: int, duplicates: bool
) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        bank = model.reshape_embedding(model.embed(torch.randn(2, 3, *size)))[::2]
    if duplicates:
        bank = torch.cat([bank, bank[:20], bank[:5]])
    model.memory_bank, model.num_neighbors = bank, neighbors
    images = torch.randn(3, 3, *size)
    output = model(images)

    exact = bank.double().numpy()
    for index, patches in enumerate(embeddings(model, images)):
        score = reference.image_score(patches, exact, neighbors)
        assert float(output.pred_score[index]) == pytest.approx(score, rel=2e-5)
        grid = reference.patch_scores(patches, exact).reshape(size[0] // 8, size[1] // 8)
        expected = reference.anomaly_map(grid, *size)
        np.testing.assert_allclose(output.anomaly_map[index, 0].numpy(), expected, rtol=2e-5, atol=0)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_distances_keep_their_digits(offset: float) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(40, 64) + offset, torch.randn(30, 64) + offset
    expected = reference.distances(x.double().numpy(), y.double().numpy())
    np.testing.assert_allclose(PatchcoreModel.euclidean_dist(x, y).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("ratio", [0.01, 0.2, 1.0])
def test_the_coreset_is_the_greedy_one(ratio: float) -> None:
    pool = torch.randn(300, 16, generator=torch.Generator().manual_seed(3))
    picks = KCenterGreedy(pool, ratio).select_coreset_idxs()
    assert picks == reference.greedy_coreset(pool.double().numpy(), len(picks), picks[0])


def test_more_neighbours_than_the_bank_holds_are_as_many_as_it_holds(model: PatchcoreModel) -> None:
    model.memory_bank = torch.randn(5, 384)
    scores, places = model.nearest_neighbors(torch.randn(7, 384), 9)
    assert scores.shape == places.shape == (7, 5)
    assert bool((scores.diff(dim=1) >= 0).all())


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (3, 40)])
def test_a_map_smaller_than_its_blur_stays_a_weighted_mean(size: tuple[int, int]) -> None:
    scores = torch.rand(1, 1, *size)
    smooth = AnomalyMapGenerator()(scores)
    assert smooth.shape == scores.shape
    assert float(scores.min()) - 1e-6 <= float(smooth.min()) <= float(smooth.max()) <= float(scores.max()) + 1e-6
