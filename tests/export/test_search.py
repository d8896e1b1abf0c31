"""Distances: exact ones are, and estimates never beat them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from patchcore_edge_export.graph.exact_search import ExactSearch, pick
from patchcore_edge_export.graph.fast_search import FastPlan, FastSearch

DIMENSION = 96


def _line(count: int, seed: int, offset: float = 3.0) -> Tensor:
    """Points whose variance falls off by dimension, as embeddings' does, far from the origin."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.linspace(1, 0.05, DIMENSION)
    return torch.randn(count, DIMENSION, generator=generator) * spread + offset


def _true_distances(patches: Tensor, bank: Tensor) -> Tensor:
    return (patches.double()[:, None] - bank.double()[None]).square().sum(2).sqrt().amin(1)


def _centred(search: ExactSearch | FastSearch, patches: Tensor) -> Tensor:
    return (patches - search.center)[None]


def _estimates(search: FastSearch, patches: Tensor) -> Tensor:
    return search.estimate(search.space(_centred(search, patches)))[0][0]


def _by_groups(search: FastSearch, patches: Tensor) -> Tensor:
    assert search.centroids is not None
    return search.centroids.nearest(search.space(_centred(search, patches)))[0]


def test_exact_distances_are_those_of_float64() -> None:
    bank, patches = _line(500, 0), _line(64, 1)
    search = ExactSearch(bank)
    found = search(_centred(search, patches))
    expected = _true_distances(patches, bank)
    torch.testing.assert_close(found.distances[0].double(), expected, rtol=1e-5, atol=0)
    worst = int(expected.argmax())
    assert torch.equal(found.patch[0], patches[worst] - search.center)
    nearest = (patches[worst] - bank).square().sum(1).argmin()
    assert int(found.neighbor) == int(nearest)
    torch.testing.assert_close(search.vectors(found.neighbor)[0], bank[nearest] - search.center)


def test_rows_are_picked_per_image() -> None:
    rows = torch.arange(24.0).reshape(2, 4, 3)
    assert torch.equal(pick(rows, torch.tensor([1, 3])), torch.stack([rows[0, 1], rows[1, 3]]))
    places = torch.tensor([[0, 2], [3, 1]])
    assert torch.equal(pick(rows, places), torch.stack([rows[0, [0, 2]], rows[1, [3, 1]]]))


def _misleading() -> tuple[FastSearch, Tensor, Tensor]:
    """Twelve patches far outside the coarse plane but near the bank, and one defect inside the plane.

    The bank holds the twelve's neighbours, so their true distances are small; in the plane all that is known of
    them is the length of the residual, so that estimates take them for anomalies.
    """
    bank = _line(2000, 0)
    patches = bank[:64] + 0.2 * (_line(64, 1) - 3)
    outside = torch.zeros(12, DIMENSION)
    outside[:, 80:] = 2 * torch.randn(12, 16, generator=torch.Generator().manual_seed(2))
    odd = _line(12, 3) + outside
    bank = torch.cat([bank, odd + 0.01])
    patches = torch.cat([patches, odd])
    patches[0, 0] += 8
    search = FastSearch(bank, FastPlan(dimensions=16, patches=16, correlation=0.0, clip_limit=20.0))
    return search, patches, _true_distances(patches, bank)


def test_an_estimate_never_beats_an_exact_value() -> None:
    search, patches, expected = _misleading()
    estimates = _estimates(search, patches)
    refined = estimates.topk(16).indices
    assert float(estimates.max()) > 1.2 * float(expected.max()), "the estimates were meant to mislead"
    found = search(_centred(search, patches))
    torch.testing.assert_close(found.worst[0].double(), expected[refined].max(), rtol=1e-5, atol=0)
    torch.testing.assert_close(found.distances[0, refined].double(), expected[refined], rtol=1e-4, atol=1e-3)
    assert float(found.distances.max()) == float(found.worst)


def test_the_defect_is_scored_exactly_in_spite_of_patches_that_only_look_far() -> None:
    search, patches, expected = _misleading()
    found = search(_centred(search, patches))
    assert int(expected.argmax()) == 0
    torch.testing.assert_close(found.worst[0].double(), expected[0], rtol=1e-5, atol=0)


def test_with_all_dimensions_only_the_rounding_is_left() -> None:
    bank, patches = _line(3000, 0), _line(64, 1)
    search = FastSearch(bank, FastPlan(DIMENSION + 1, 1, 0.5, 5.0))
    estimates = _estimates(search, patches)
    torch.testing.assert_close(estimates.double(), _true_distances(patches, bank), rtol=0.02, atol=0)


def test_the_residuals_correlation_makes_estimates_better() -> None:
    bank = _line(3000, 0)
    # Near neighbours of bank vectors: their residuals point the same way.
    patches = bank[:256] + 0.2 * (_line(256, 5) - 3)
    expected = _true_distances(patches, bank)
    errors = {}
    for correlation in (0.0, 0.8):
        search = FastSearch(bank, FastPlan(24, 1, correlation, 6.0))
        errors[correlation] = float((_estimates(search, patches) - expected).abs().mean())
    assert errors[0.8] < 0.5 * errors[0.0]


def test_more_patches_to_refine_than_an_image_has_means_exact() -> None:
    bank, patches = _line(300, 0), _line(20, 1)
    search = FastSearch(bank, FastPlan(8, 64, 0.2, 6.0))
    found = search(_centred(search, patches))
    torch.testing.assert_close(found.distances[0].double(), _true_distances(patches, bank), rtol=1e-5, atol=0)


def test_a_shortlist_costs_no_exactness_where_it_holds_the_worst_patch() -> None:
    bank, patches = _line(4000, 0), _line(400, 1)
    patches[7, 0] += 8
    search = FastSearch(bank, FastPlan(32, 8, 0.3, 20.0, shortlist=100))
    coarse = _by_groups(search, patches)
    found = search(_centred(search, patches))
    expected = _true_distances(patches, bank)
    assert int(expected.argmax()) == 7
    torch.testing.assert_close(found.worst[0].double(), expected[7], rtol=1e-5, atol=0)
    assert float(found.distances.max()) == float(found.worst)
    # Who is on the shortlist is compared with all points, who is not keeps what the groups gave.
    listed, estimates = coarse.topk(100).indices, _estimates(search, patches)
    full = _estimates(FastSearch(bank, FastPlan(32, 8, 0.3, 20.0)), patches)
    torch.testing.assert_close(estimates[listed], full[listed])
    others = torch.ones(400, dtype=torch.bool).index_fill(0, listed, False)
    assert torch.equal(estimates[others], coarse[others])
    assert float((coarse / full - 1).abs().mean()) < 0.1


def test_groups_of_the_bank_are_the_same_each_time_and_none_is_empty() -> None:
    bank = torch.cat([_line(900, 0), _line(1, 3).expand(100, -1)])
    one, two = (FastSearch(bank, FastPlan(16, 4, 0.2, 8.0, shortlist=8)) for _ in range(2))
    centroids = [search.get_buffer("centroids.points_0") for search in (one, two)]
    assert torch.equal(*centroids)
    assert torch.isfinite(centroids[0]).all()
    assert 0 < len(centroids[0]) <= len(bank) // 8


def test_candidates_give_exact_distances_where_the_nearest_is_among_them() -> None:
    bank, patches = _line(3000, 0), _line(200, 1)
    everywhere = FastSearch(bank, FastPlan(48, 16, 0.3, 6.0))
    few = FastSearch(bank, FastPlan(48, 16, 0.3, 6.0, candidates=64))
    expected = _true_distances(patches, bank)
    found, whole = few(_centred(few, patches)), everywhere(_centred(everywhere, patches))
    refined = _estimates(few, patches).topk(16).indices
    torch.testing.assert_close(found.distances[0, refined].double(), expected[refined], rtol=1e-6, atol=0)
    assert torch.equal(found.neighbor, whole.neighbor)
    assert torch.equal(found.patch, whole.patch)


def test_candidates_that_miss_the_nearest_never_make_a_distance_smaller() -> None:
    bank, patches = _line(3000, 0), _line(200, 1)
    search = FastSearch(bank, FastPlan(4, 16, 0.0, 6.0, candidates=2))
    refined = _estimates(search, patches).topk(16).indices
    found = search(_centred(search, patches)).distances[0, refined].double()
    expected = _true_distances(patches, bank)[refined]
    assert (found >= expected * (1 - 1e-6)).all()
    assert (found > expected * 1.01).any(), "two candidates in four dimensions were meant to miss"


def test_more_candidates_than_the_bank_has_means_all() -> None:
    bank, patches = _line(40, 0), _line(20, 1)
    search = FastSearch(bank, FastPlan(8, 64, 0.2, 6.0, candidates=64))
    found = search(_centred(search, patches))
    torch.testing.assert_close(found.distances[0].double(), _true_distances(patches, bank), rtol=1e-5, atol=0)


@pytest.mark.parametrize("shortlist", [0, 50])
def test_what_is_usual_for_a_place_is_taken_off_the_background_and_hides_no_defect(shortlist: int) -> None:
    bank, patches = _line(3000, 0), _line(200, 1)
    patches[7, 0] += 8
    plain = FastPlan(32, 8, 0.3, 20.0, shortlist=shortlist)
    # Much is usual at the defect's place, and a little everywhere else.
    offsets = torch.full((2, 200), -0.1)
    offsets[:, 7] = -100.0
    one, two = FastSearch(bank, plain), FastSearch(bank, replace(plain, offsets=offsets))
    before, after = one(_centred(one, patches)), two(_centred(two, patches))
    assert torch.equal(before.worst, after.worst)
    assert int(after.distances[0].argmax()) == 7
    refined = _estimates(one, patches).topk(8).indices
    background = torch.ones(200, dtype=torch.bool).index_fill(0, refined, False)
    assert torch.equal(before.distances[0, refined], after.distances[0, refined])
    torch.testing.assert_close(
        after.distances[0, background], (before.distances[0, background] - 0.1).clamp_min(0), rtol=1e-4, atol=1e-4
    )


def _half(search: torch.nn.Module, patches: Tensor) -> Tensor:
    """The distance part as an integrated GPU does it: every number and every result in float16."""
    return search.half()(patches.half()).float()


class _Uncentred(torch.nn.Module):
    """‖x‖² − 2xy + ‖y‖² of raw embeddings, as it is usually written."""

    def __init__(self, bank: Tensor) -> None:
        super().__init__()
        self.register_buffer("bank", bank)

    def forward(self, patches: Tensor) -> Tensor:
        products = -2 * patches @ self.bank.T + (self.bank * self.bank).sum(1)
        return (products.amin(2) + (patches * patches).sum(2)).clamp_min(0).sqrt()


class _Distances(torch.nn.Module):
    def __init__(self, bank: Tensor) -> None:
        super().__init__()
        self.search = ExactSearch(bank)

    def forward(self, patches: Tensor) -> Tensor:
        return self.search(patches).distances


def test_half_precision_spares_the_centred_formulation_and_ruins_the_uncentred() -> None:
    bank = _line(500, 0)
    patches = bank[:64] + 0.2 * (_line(64, 1) - 3)
    expected = _true_distances(patches, bank).float()
    centred = _Distances(bank)
    kept = _half(centred, patches[None] - centred.search.center)[0]
    lost = _half(_Uncentred(bank), patches[None])[0]
    assert float(((kept - expected) / expected).abs().max()) < 3e-2
    assert float(((lost - expected) / expected).abs().max()) > 2e-1
