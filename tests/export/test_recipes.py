"""Every recipe goes through export, gate and the runtime, and comes out as the same verdicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch
from conftest import good_part
from export.plain import plain_run

from patchcore_edge.data import ImageDataset, prediction_items
from patchcore_edge.jobs.train import TrainOptions
from patchcore_edge.runs.checkpoint import load_run
from patchcore_edge_export.build import GraphOptions
from patchcore_edge_export.bundle import export_bundle, verify_bundle
from patchcore_edge_export.gate.limits import SCORE_LIMITS, limits_name
from patchcore_edge_runtime import Inspector
from patchcore_edge_runtime.bundle.recipe import AugmentOptions, PcaOptions, ScoreRule
from patchcore_edge_runtime.images.files import read_image

_FEW = 24
WHITE = PcaOptions(dimensions=0.99, whitening=0.5)
RECIPES = {
    # Copies change what is in the bank and nothing in the graph.
    "map's maximum, copies in the bank": (
        {"score": ScoreRule.MAP_MAX, "augment": AugmentOptions(kinds=("brightness", "shift"), copies=1)},
        GraphOptions(search="fast"),
    ),
    "map's maximum, whitened, INT8": (
        {"score": ScoreRule.MAP_MAX, "pca": WHITE},
        GraphOptions(precision="int8", search="fast"),
    ),
    "map's maximum, centred, INT8": (
        {"score": ScoreRule.MAP_MAX, "centering": 1.0},
        GraphOptions(precision="int8", search="fast"),
    ),
    "eq. 7, half centred and whitened": ({"pca": WHITE, "centering": 0.5}, GraphOptions(search="fast")),
    "largest distances, whitened, patches farther apart": (
        {"score": ScoreRule.TOP_K, "pca": WHITE, "layers": ("layer2",), "patch_stride": 16, "patch_size": 1},
        GraphOptions(precision="fp16", search="fast"),
    ),
}


@pytest.fixture(scope="module")
def good_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Good parts enough for the gate to tell what INT8 costs from what few images cost."""
    folder = tmp_path_factory.mktemp("parts")
    files = [folder / f"{place:03d}.png" for place in range(60)]
    for place, file in enumerate(files):
        cv2.imwrite(str(file), good_part(place))
    return files


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_exports_verifies_and_inspects(
    name: str,
    good_files: list[Path],
    tiny_data: Path,
    tiny_options: TrainOptions,
    tmp_path: Path,
) -> None:
    recipe, graph = RECIPES[name]
    files = good_files if graph.precision == "int8" else good_files[:_FEW]
    run = plain_run(files, tmp_path, replace(tiny_options, coreset_sampling_ratio=0.1, **recipe))
    manifest = export_bundle(run, tmp_path / "bundle", graph)
    assert {field: getattr(manifest.model, field) for field in recipe} == recipe
    assert manifest.parity.passed, manifest.parity.failures
    assert verify_bundle(tmp_path / "bundle", run, None, "CPU").passed

    model, _ = load_run(run)
    items = prediction_items(tiny_data / "test")
    dataset = ImageDataset(items, model.pre_processor.spec)
    with torch.inference_mode():
        scores = [float(model(torch.from_numpy(dataset.image(i))[None]).pred_score) for i in range(len(items))]
    for computed in manifest.inference_precisions:
        inspector = Inspector(tmp_path / "bundle", inference_precision=computed)
        share = SCORE_LIMITS[limits_name(graph.precision, computed)]
        for item, expected in zip(items, scores, strict=True):
            score = inspector(read_image(item.path)).pred_score
            assert score == pytest.approx(expected, rel=share, abs=share * manifest.thresholds.image), item.path
