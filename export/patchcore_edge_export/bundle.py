"""A bundle from a run: graph, gate, golden images, manifest; written whole or not at all."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch

from patchcore_edge import __version__
from patchcore_edge.checkpoint import (
    Calibration,
    RunFacts,
    calibration_images,
    load_calibration,
    load_run,
    new_folder,
)
from patchcore_edge.data import DataModule, open_data
from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.bundle import MANIFEST, MODEL_XML, Bundle, file_facts, write_manifest
from patchcore_edge_runtime.errors import BundleError, CheckpointError
from patchcore_edge_runtime.inspector import CompiledGraph
from patchcore_edge_runtime.manifest import GoldenImage, Manifest, ModelFacts, ParityFacts
from patchcore_edge_runtime.preprocess import Image
from patchcore_edge_runtime.sinks.images import write_image

from .edge_model import EdgeModel
from .onnx import export_onnx
from .openvino import convert
from .parity import SCORE_LIMITS, compare, require_parity

__all__ = ["export_bundle", "verify_bundle"]

_GOLDEN = 4
_TOOLS = ("torch", "timm", "onnx", "openvino", "opencv-python", "numpy")


def export_bundle(run: Path, output: Path, precision: Literal["fp32", "fp16"], batch: int = 1) -> Manifest:
    """Export a calibrated run.

    Args:
        run: RUN folder.
        output: bundle folder to write; an earlier bundle there is replaced.
        precision: of the stored weights.
        batch: static batch size of the graph.

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
        _write_graph(fitted, calibration, fresh / MODEL_XML, precision, batch)
        parity = compare(
            fitted,
            CompiledGraph(fresh / MODEL_XML, "CPU", "latency"),
            images.values(),
            batch=batch,
            device="CPU",
            precision=precision,
            thresholds=calibration.thresholds,
        )
        require_parity(parity)
        golden = _write_golden(fresh, fitted, images, SCORE_LIMITS[precision])
        manifest = _manifest(fresh, fitted, facts, calibration, parity, golden, precision, batch)
        write_manifest(fresh, manifest)
        Bundle.load(fresh)
    return manifest


def verify_bundle(path: Path, run: Path, data: Path | None, device: str) -> ParityFacts:
    """Compare a bundle with its run on this machine.

    Args:
        path: bundle folder.
        run: the run it was exported from.
        data: images to compare on, all splits but the training one; the run's calibration images when absent.
        device: OpenVINO's name.

    Raises:
        BundleError: the bundle is damaged or of another run.
        ParityError: it does not score as the run does.
    """
    bundle = Bundle.load(path)
    manifest = bundle.manifest
    fitted, facts = load_run(run)
    if manifest.model != _model_facts(fitted, facts) or manifest.preprocess != facts.preprocess:
        raise BundleError(f"{path} was not exported from {run}; give the run it came from.")
    parity = compare(
        fitted,
        CompiledGraph(bundle.model_xml, device, "latency"),
        _images(run, data, fitted),
        batch=manifest.batch,
        device=device,
        precision=manifest.precision,
        thresholds=manifest.thresholds,
    )
    require_parity(parity)
    return parity


def _images(run: Path, data: Path | None, fitted: Patchcore) -> list[Image]:
    if data is None:
        calibration = load_calibration(run)
        return list(calibration_images(run, calibration).values()) if calibration else []
    module = open_data(data)
    items = module.validation + module.test or module.train
    dataset = DataModule.dataset(items, fitted.pre_processor.spec)
    return [dataset.image(index) for index in range(len(dataset))]


def _write_graph(fitted: Patchcore, calibration: Calibration, xml: Path, precision: str, batch: int) -> None:
    with TemporaryDirectory() as scratch:
        onnx_file = Path(scratch) / "model.onnx"
        export_onnx(EdgeModel(fitted), onnx_file, batch, fitted.pre_processor.spec.input_size)
        convert(onnx_file, xml, calibration.thresholds, compress_to_fp16=precision == "fp16")


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
    parity: ParityFacts,
    golden: tuple[GoldenImage, ...],
    precision: Literal["fp32", "fp16"],
    batch: int,
) -> Manifest:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return Manifest(
        name=facts.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        batch=batch,
        preprocess=facts.preprocess,
        model=_model_facts(fitted, facts),
        precision=precision,
        search="exact",
        thresholds=calibration.thresholds,
        calibration=calibration.facts,
        sanity=calibration.sanity,
        parity=parity,
        golden=golden,
        files={path.relative_to(folder).as_posix(): file_facts(path) for path in files},
        tools={"patchcore-edge": __version__, **{name: version(name) for name in _TOOLS}},
    )
