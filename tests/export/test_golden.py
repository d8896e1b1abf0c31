"""Golden images span the scores, are lossless, and say what float32 torch makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from patchcore_edge.data import DataModule, open_data
from patchcore_edge.runs.checkpoint import calibration_images, load_calibration, load_run
from patchcore_edge_export.gate.golden import choose_golden
from patchcore_edge_export.gate.parity import Sample
from patchcore_edge_runtime.bundle.bundle import Bundle


def test_they_reach_from_the_least_to_the_most_anomalous_good_image_and_beyond(
    tiny_bundle: Path, tiny_run: Path
) -> None:
    calibration = load_calibration(tiny_run)
    assert calibration is not None
    golden = Bundle.load(tiny_bundle).manifest.golden
    scores = [one.pred_score for one in golden if one.origin == "good"]
    np.testing.assert_allclose(
        [scores[0], scores[-1]], [min(calibration.images.values()), max(calibration.images.values())]
    )
    assert [one.pred_score for one in golden] == sorted(one.pred_score for one in golden)
    assert golden[-1].origin == "synthetic"


def test_expected_scores_are_those_of_float32_torch_on_the_stored_pixels(tiny_bundle: Path, tiny_run: Path) -> None:
    bundle = Bundle.load(tiny_bundle)
    fitted, _ = load_run(tiny_run)
    for golden in bundle.manifest.golden:
        assert golden.file.endswith(".png")
        score = float(fitted(torch.from_numpy(bundle.golden_image(golden))[None]).pred_score[0])
        np.testing.assert_allclose([golden.pred_score, golden.torch_score], score, rtol=1e-6)


def test_a_real_defect_takes_the_place_of_a_synthetic_one(tiny_run: Path, tiny_data: Path) -> None:
    fitted, _ = load_run(tiny_run)
    calibration = load_calibration(tiny_run)
    assert calibration is not None
    items = open_data(tiny_data).test
    dataset = DataModule.dataset(items, fitted.pre_processor.spec)
    labelled = [Sample(dataset.image(index), item.is_defective) for index, item in enumerate(items)]
    images = list(calibration_images(tiny_run, calibration).values())
    chosen = choose_golden(fitted, images, labelled)
    assert [origin for _, _, origin in chosen].count("defect") == 1
    assert "synthetic" not in [origin for _, _, origin in chosen]
    again = choose_golden(fitted, images, labelled)
    assert all(np.array_equal(one[0], other[0]) for one, other in zip(chosen, again, strict=True))
