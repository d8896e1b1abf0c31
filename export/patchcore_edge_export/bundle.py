"""A bundle from a run: graph, gate, golden images, manifest; written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from patchcore_edge import __version__
from patchcore_edge.checkpoint import (
    Calibration,
    RunFacts,
    calibration_images,
    load_calibration,
    load_run,
)
from patchcore_edge.data import DataModule, open_data
from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.bundle import MANIFEST, Bundle, file_facts, write_manifest
from patchcore_edge_runtime.errors import BundleError, CheckpointError
from patchcore_edge_runtime.folders import new_folder
from patchcore_edge_runtime.inspector import CompiledGraph
from patchcore_edge_runtime.manifest import GoldenImage, Manifest, ModelFacts, ParityFacts
from patchcore_edge_runtime.preprocess import Image
from patchcore_edge_runtime.sinks.images import write_image

from .build import Built, GraphOptions, build_graph, gate_samples
from .onnx import OnnxGraph
from .parity import SCORE_LIMITS, Sample, compare

__all__ = ["export_bundle", "verify_bundle"]

_GOLDEN = 4
_TOOLS = ("torch", "timm", "onnx", "openvino", "opencv-python", "numpy")


def export_bundle(run: Path, output: Path, options: GraphOptions) -> Manifest:
    """Export a calibrated run.

    Args:
        run: RUN folder.
        output: bundle folder to write; an earlier bundle there is replaced.
        options: precision, search, batch and formats.

    Returns:
        the manifest as written, its parity report included.

    Raises:
        CheckpointError: the run is no checkpoint or has no calibration.
        ParityError: the graph does not score as the run does; nothing is written.
    """
    fitted, facts = load_run(run)
    calibration = load_calibration(run)
    if calibration is None:
        raise CheckpointError(f"{run} has no thresholds yet; run `patchcore-edge calibrate {run} --data DATA` first.")
    images = calibration_images(run, calibration)
    with new_folder(output, MANIFEST) as fresh:
        built = build_graph(fresh, fitted, list(images.values()), calibration.thresholds, options)
        golden = _write_golden(fresh, fitted, images, SCORE_LIMITS[options.precision])
        manifest = _manifest(fresh, fitted, facts, calibration, built, golden, options)
        write_manifest(fresh, manifest)
        Bundle.load(fresh)
    return manifest


def verify_bundle(path: Path, run: Path, data: Path | None, device: str) -> ParityFacts:
    """Compare a bundle with its run on this machine; ``require_parity`` raises what comes out.

    Args:
        path: bundle folder.
        run: the run it was exported from.
        data: images to compare on, all splits but the training one; the run's calibration images when absent.
        device: OpenVINO's name.

    Raises:
        BundleError: the bundle is damaged or of another run.
    """
    bundle = Bundle.load(path)
    manifest = bundle.manifest
    fitted, facts = load_run(run)
    if manifest.model != _model_facts(fitted, facts) or manifest.preprocess != facts.preprocess:
        raise BundleError(f"{path} was not exported from {run}; give the run it came from.")
    onnx_file = path / "model.onnx"
    return compare(
        fitted,
        CompiledGraph(bundle.model_xml, device, "latency"),
        _samples(run, data, fitted),
        batch=manifest.batch,
        device=device,
        precision=manifest.precision,
        thresholds=manifest.thresholds,
        search=manifest.search,
        onnx=OnnxGraph(onnx_file) if onnx_file.is_file() else None,
    )


def _samples(run: Path, data: Path | None, fitted: Patchcore) -> Iterator[Sample]:
    if data is None:
        calibration = load_calibration(run)
        yield from gate_samples(list(calibration_images(run, calibration).values())) if calibration else []
        return
    module = open_data(data)
    items = module.validation + module.test or module.train
    dataset = DataModule.dataset(items, fitted.pre_processor.spec)
    for index, item in enumerate(items):
        yield Sample(dataset.image(index), item.is_defective)


def _write_golden(
    folder: Path, fitted: Patchcore, images: dict[str, Image], tolerance: float
) -> tuple[GoldenImage, ...]:
    """A few calibration images, least to most anomalous, with the scores of float32 torch."""
    names = list(images)
    chosen = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, _GOLDEN).round().astype(int))]
    golden = []
    for place, name in enumerate(chosen):
        file = f"golden/{place}.png"
        write_image(folder / file, images[name])
        score = float(fitted(torch.from_numpy(images[name])[None]).pred_score[0])
        golden.append(GoldenImage(file=file, pred_score=score, tolerance=tolerance))
    return tuple(golden)


def _model_facts(fitted: Patchcore, facts: RunFacts) -> ModelFacts:
    bank_size, dimension = fitted.model.memory_bank.shape
    return ModelFacts(
        backbone=facts.backbone,
        layers=facts.layers,
        num_neighbors=facts.num_neighbors,
        bank_size=bank_size,
        embedding_dim=dimension,
        coreset_sampling_ratio=facts.coreset_sampling_ratio,
        train_images=len(facts.train_sha256),
    )


def _manifest(
    folder: Path,
    fitted: Patchcore,
    facts: RunFacts,
    calibration: Calibration,
    built: Built,
    golden: tuple[GoldenImage, ...],
    options: GraphOptions,
) -> Manifest:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return Manifest(
        name=facts.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        batch=options.batch,
        preprocess=facts.preprocess,
        model=_model_facts(fitted, facts),
        precision=options.precision,
        search=built.search,
        search_facts=built.search_facts,
        thresholds=calibration.thresholds,
        calibration=calibration.facts,
        sanity=calibration.sanity,
        parity=built.parity,
        golden=golden,
        files={path.relative_to(folder).as_posix(): file_facts(path) for path in files},
        tools={"patchcore-edge": __version__, **{name: version(name) for name in _TOOLS}},
    )
