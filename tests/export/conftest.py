"""The tiny run as a model, its calibration images, and a bundle with fast search."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchcore_edge.models import Patchcore
from patchcore_edge.runs.checkpoint import calibration_images, load_calibration, load_run
from patchcore_edge.runs.facts import Calibration
from patchcore_edge_export.build import GraphOptions
from patchcore_edge_export.bundle import export_bundle
from patchcore_edge_runtime.images.preprocess import Image


@pytest.fixture(scope="session")
def fitted(tiny_run: Path) -> Patchcore:
    return load_run(tiny_run)[0]


@pytest.fixture(scope="session")
def calibration(tiny_run: Path) -> Calibration:
    found = load_calibration(tiny_run)
    assert found is not None
    return found


@pytest.fixture(scope="session")
def images(tiny_run: Path, calibration: Calibration) -> list[Image]:
    return list(calibration_images(tiny_run, calibration).values())


@pytest.fixture(scope="session")
def fast_bundle(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with fast search, two images at a time, and the ONNX file kept; not to be changed."""
    bundle = tmp_path_factory.mktemp("fast") / "discs"
    export_bundle(tiny_run, bundle, GraphOptions(search="fast", batch=2, onnx=True, lower=False))
    return bundle
