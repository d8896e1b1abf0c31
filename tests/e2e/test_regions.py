"""What the fit did not see the line does not judge: from `train` to the inspector."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import good_part, run_cli

from patchcore_edge.jobs.calibrate import calibrate_run
from patchcore_edge.jobs.sight import SightOptions
from patchcore_edge.jobs.train import TrainOptions, train_run
from patchcore_edge.runs.checkpoint import load_run
from patchcore_edge_export.build import GraphOptions
from patchcore_edge_export.bundle import export_bundle, verify_bundle
from patchcore_edge_runtime import IgnoreMask, Inspector, LineRules
from patchcore_edge_runtime.benchmark import benchmark
from patchcore_edge_runtime.bundle.bundle import Bundle, write_manifest
from patchcore_edge_runtime.errors import ConfigError

ROI = (0, 0, 80, 64)
CORNER = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.25), (0.0, 0.25))
OTHER = ((0.6, 0.0), (1.0, 0.0), (1.0, 0.2))


@pytest.fixture(scope="module")
def seen(tiny_data: Path, tiny_options: TrainOptions, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run and its bundle that look at a region with a corner ignored; not to be changed."""
    folder = tmp_path_factory.mktemp("seen")
    sight = SightOptions(roi=ROI, ignore_masks=(CORNER,))
    train_run(tiny_data, folder / "run", replace(tiny_options, score="map-max", sight=sight))
    calibrate_run(folder / "run", tiny_data, 0.1, "cpu")
    export_bundle(folder / "run", folder / "bundle", GraphOptions(search="fast", lower=False))
    return folder / "run", folder / "bundle"


def test_the_line_looks_at_what_the_fit_looked_at_and_scores_the_same(seen: tuple[Path, Path]) -> None:
    run, bundle = seen
    assert verify_bundle(bundle, run, None, "CPU").passed
    inspector, (model, _), frame = Inspector(bundle), load_run(run), good_part(3)
    result = inspector(frame)
    assert result.roi == ROI
    with torch.inference_mode():
        expected = float(model(model.pre_processor._frames(frame)).pred_score)
    assert result.pred_score == pytest.approx(expected, rel=1e-4)
    assert not result.anomaly_map[:20, :40].any()
    assert not result.anomaly_map[64:].any()


def test_a_benchmark_measures_frames_that_have_the_region(seen: tuple[Path, Path]) -> None:
    found = benchmark(seen[1], "CPU", "latency", seconds=0.1)
    assert found["frame"] == [80, 80]
    assert found["errors"] == 0


def test_a_frame_of_another_size_is_an_error_as_the_region_lies_elsewhere_in_it(seen: tuple[Path, Path]) -> None:
    result = Inspector(seen[1])(good_part(size=96))
    assert result.verdict == "ERROR"
    assert "80x80 pixels and this one has 96x96" in result.reason


def test_other_regions_at_the_line_are_said_or_refused(
    seen: tuple[Path, Path], tiny_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = seen[1]
    with pytest.raises(ConfigError, match="they would lie elsewhere"):
        Inspector(bundle, roi=(8, 8, 64, 64))
    with caplog.at_level(logging.WARNING):
        Inspector(bundle, roi=ROI, rules=None)
        assert not caplog.records
        inspector = Inspector(bundle, rules=LineRules(ignore=IgnoreMask([OTHER])))
        assert inspector.rules.ignore.polygons == (CORNER, OTHER)
        assert "fitted with 1 ignore mask and this line has 1 ignore mask" in caplog.text
        assert "Those that it was fitted with stay." in caplog.text
        Inspector(tiny_bundle, roi=(8, 8, 64, 64))
        assert "was fitted on whole frames and this line looks at 8,8,64,64" in caplog.text


def test_no_edit_takes_back_what_the_fit_ignored(seen: tuple[Path, Path]) -> None:
    done = run_cli("edit", seen[1], "--by", "Ada", "--no-masks", program="patchcore_edge_runtime")
    assert done.returncode == 2
    assert "Nothing would change" in done.stderr
    assert Inspector(seen[1]).rules.ignore.polygons == (CORNER,)


def test_12_bit_frames_score_as_the_same_8_bits_and_a_value_beyond_them_is_an_error(
    tiny_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, frame = Path(shutil.copytree(tiny_bundle, tmp_path / "deep")), good_part(1)
    manifest = Bundle.load(folder).manifest
    write_manifest(
        folder, manifest.model_copy(update={"preprocess": manifest.preprocess.model_copy(update={"bit_depth": 12})})
    )
    deep = np.rint(frame.astype(np.float64) * (4095 / 255)).astype(np.uint16)
    inspector = Inspector(folder)
    assert inspector(deep).pred_score == Inspector(tiny_bundle)(frame).pred_score
    deep[40, 40] = 4096
    result = inspector(deep)
    assert result.verdict == "ERROR"
    assert "4096 where 12 bits end at 4095" in result.reason
    assert "65,535 is taken for white" not in caplog.text
    Inspector(tiny_bundle)(deep)
    assert "65,535 is taken for white" in caplog.text
