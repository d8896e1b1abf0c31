"""A graph that takes the other of two patches that tie is as right as torch; one that takes any other is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from patchcore_edge.models import Patchcore
from patchcore_edge_export.gate.parity import compare
from patchcore_edge_export.gate.ties import tied_scores
from patchcore_edge_export.samples import Sample
from patchcore_edge_runtime.verdict import Thresholds

SIZE = (64, 64)
LIMITS = Thresholds(image=0.4, pixel=0.4)


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> Patchcore:
    """A model whose only image has two worst patches: one beside two bank vectors, one beside a lonely one."""
    model = Patchcore(
        "resnet18",
        ("layer2",),
        pre_trained=False,
        num_neighbors=2,
        pre_processor=Patchcore.configure_pre_processor(SIZE),
        post_processor=False,
    ).eval()
    model.model.memory_bank = torch.tensor([[0.0, 0.0], [0.1, 0.0], [10.0, 0.0]])
    patches = torch.zeros(1, 2, 2, 2)
    patches[0, :, 0, 0] = torch.tensor([0.0, 1.0])
    patches[0, :, 1, 1] = torch.tensor([10.0, 1.0 - 1e-5])
    monkeypatch.setattr(model.model, "embed", lambda images: patches)
    return model


class Graph:
    """Scores as it is told."""

    def __init__(self, score: float, anomaly_map: np.ndarray) -> None:
        self._answer = np.array([score], np.float32), anomaly_map
        self.images = np.zeros((1, *SIZE, 3), np.uint8)
        self.execution_devices = ["CPU"]

    def infer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._answer


def test_patches_that_tie_give_scores_of_their_own(fitted: Patchcore) -> None:
    image = np.zeros((*SIZE, 3), np.uint8)
    own = float(fitted(torch.from_numpy(image)[None]).pred_score[0])
    first, second = tied_scores(fitted, image, 1e-4)
    assert first == own
    assert second > 1.5 * own
    assert tied_scores(fitted, image, 1e-6) == [own]


@pytest.mark.parametrize(("precision", "apart", "passes"), [("fp16", 1.0, True), ("fp16", 1.01, False)])
def test_only_the_score_of_a_tie_is_excused(precision: str, apart: float, passes: bool, fitted: Patchcore) -> None:
    image = np.zeros((*SIZE, 3), np.uint8)
    anomaly_map = fitted(torch.from_numpy(image)[None]).anomaly_map.numpy()
    _, second = tied_scores(fitted, image, 1e-4)
    graph = Graph(apart * second, anomaly_map)
    facts = compare(fitted, graph, [Sample(image)], batch=1, device="CPU", precision=precision, thresholds=LIMITS)
    assert (facts.max_score_deviation <= facts.score_limit) is passes
