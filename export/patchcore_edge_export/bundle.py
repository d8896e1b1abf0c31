"""A bundle from a run: graph, gate, golden images, manifest; written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import openvino as ov

from patchcore_edge import __version__
from patchcore_edge.data import DataModule, open_data
from patchcore_edge.data.digests import file_sha256
from patchcore_edge.models import Patchcore
from patchcore_edge.runs.checkpoint import (
    calibration_images,
    load_calibrated,
    load_calibration,
    train_samples,
    unseen_model,
)
from patchcore_edge.runs.facts import Calibration, RunFacts
from patchcore_edge_runtime.atomic_folder import atomic_folder
from patchcore_edge_runtime.bundle.bundle import MANIFEST, MODEL_XML, Bundle, file_facts, write_manifest
from patchcore_edge_runtime.bundle.calibration_facts import without_folders
from patchcore_edge_runtime.bundle.lower_precision import InferencePrecision, LowerTolerance
from patchcore_edge_runtime.bundle.manifest import CalibrationFacts, GoldenImage, Manifest, ModelFacts, ParityReport
from patchcore_edge_runtime.errors import BundleError, CheckpointError
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.inspection.backend import Backend
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend
from patchcore_edge_runtime.shown import MAX_NAME, printable
from patchcore_edge_runtime.verdict import Thresholds

from .build import BuildResult, CalibrationInputs, GraphOptions, build_graph
from .convert.backbone import with_backbone_of
from .convert.onnx import export_onnx
from .convert.openvino import convert, save
from .gate.deviation import Scales
from .gate.golden import LEAST_MAP_TOLERANCE, OWN_TOLERANCE, Expectation, choose_golden, write_golden
from .gate.limits import limits_name
from .gate.onnx_backend import ONNXRuntimeBackend
from .gate.parity import LIMITS, SCORE_LIMITS, Trial, judge
from .graph.edge_model import EdgeModel
from .samples import Sample, gate_samples, patch_cell

__all__ = ["export_bundle", "verify_bundle"]

_TOOLS = ("torch", "timm", "onnx", "openvino", "opencv-python", "numpy", "nncf")


def export_bundle(
    run: Path, output: Path, options: GraphOptions, data: Path | None = None, good: Sequence[str] = ()
) -> Manifest:
    """Export a calibrated run.

    Args:
        run: RUN folder.
        output: bundle folder to write; an earlier bundle there is replaced.
        options: precision, search, batch and formats.
        data: labelled images for the gate to compare on besides the calibration images.
        good: names of their folders of good parts; the run's own when empty.

    Returns:
        the manifest as written, its parity report included.

    Raises:
        CheckpointError: the run is no checkpoint or has no calibration.
        ParityError: the graph does not score as the run does; nothing is written.
    """
    fitted, facts, calibration = load_calibrated(run)
    if calibration is None:
        raise CheckpointError(f"{run} has no thresholds yet; run `patchcore-edge calibrate {run} --data DATA` first.")
    images = list(calibration_images(run, calibration).values())
    inputs = CalibrationInputs(
        train_samples(run),
        list(calibration.images.values()),
        list(_labelled(data, good, fitted, facts)) if data else [],
        unseen_model(run, fitted, calibration) if calibration.unseen_bank else None,
    )
    with atomic_folder(output, MANIFEST) as fresh:
        built = build_graph(fresh, fitted, images, calibration.thresholds, options, inputs)
        golden = _golden(fresh, fitted, images, built, inputs, options)
        manifest = _manifest(fresh, fitted, facts, calibration, built, golden, options)
        write_manifest(fresh, manifest)
        Bundle.load(fresh)
    return manifest


def verify_bundle(
    path: Path,
    run: Path,
    data: Path | None,
    device: str,
    good: Sequence[str] = (),
    inference_precision: InferencePrecision = "f32",
) -> ParityReport:
    """Compare a bundle with its run on this machine; ``require_parity`` raises what comes out.

    Args:
        path: bundle folder.
        run: the run it was exported from.
        data: images to compare on, all splits but the training one; the run's calibration images when absent.
        device: OpenVINO's name.
        good: names of the folders of good parts; the run's own when empty.
        inference_precision: what the backbone is computed in; whether the bundle was verified for it or not.

    Raises:
        BundleError: the bundle is damaged or of another run.
    """
    bundle, device = Bundle.load(path), device.upper()
    manifest = bundle.manifest
    fitted, facts, _ = load_calibrated(run)
    if manifest.model != _model_facts(fitted, facts) or manifest.preprocess != fitted.pre_processor.spec:
        raise BundleError(f"{path} was not exported from {run}; give the run it came from.")
    onnx_file = path / "model.onnx"
    opened = partial(OpenVINOBackend, device=device, inference_precision=inference_precision)
    onnx = ONNXRuntimeBackend(onnx_file) if onnx_file.is_file() else None
    with ExitStack() as held:
        samples = _labelled(data, good, fitted, facts) if data else _calibration_samples(run, fitted)
        trials = [Trial(fitted, opened(bundle.model_xml), samples, onnx)]
        if data is None:
            trials += _stand_in(bundle, run, fitted, opened, Path(held.enter_context(TemporaryDirectory())))
        return judge(
            trials,
            batch=manifest.batch,
            device=device,
            precision=limits_name("int8" if manifest.compressed_weights else manifest.precision, inference_precision),
            scales=Scales(_torch_thresholds(manifest), manifest.thresholds),
            search=manifest.search,
        )


def _stand_in(
    bundle: Bundle, run: Path, fitted: Patchcore, opened: Callable[[Path], Backend], scratch: Path
) -> list[Trial]:
    """Where the bundle's bank has seen the calibration images: its backbone before a bank that has not.

    The search before that bank is exact: what a precision changes is the backbone, and the bundle's own search is seen
    in its own graph.
    """
    calibration = load_calibration(run)
    if calibration is None or not calibration.unseen_bank:
        return []
    model, xml = unseen_model(run, fitted, calibration), scratch / MODEL_XML
    manifest = bundle.manifest
    export_onnx(EdgeModel(model), scratch / "model.onnx", manifest.batch, manifest.preprocess.input_size)
    convert(scratch / "model.onnx", xml, manifest.thresholds, compress_to_fp16=False)
    core = ov.Core()
    # Mapped into memory the files could not be written again.
    core.set_property({"ENABLE_MMAP": False})
    graph = with_backbone_of(core.read_model(xml), core.read_model(bundle.model_xml))
    save(graph, xml, compress_to_fp16=False)
    images = list(calibration_images(run, calibration).values())
    samples = gate_samples(images, cell=patch_cell(model), hidden=model.hidden)
    return [Trial(model, opened(xml), samples)]


def _torch_thresholds(manifest: Manifest) -> Thresholds:
    """What torch's scores are judged by: moved with the bundle's thresholds when those were edited."""
    was = manifest.torch_thresholds
    if was is None:
        return manifest.thresholds
    first: dict[str, float | None] = dict(manifest.thresholds.model_dump())
    for edit in reversed(manifest.history):
        holder, _, name = edit.field.partition(".")
        if holder == "thresholds":
            first[name] = float(edit.before) if isinstance(edit.before, float) else None
    image = was.image * manifest.thresholds.image / (first["image"] or manifest.thresholds.image)
    pixel = was.pixel * manifest.thresholds.pixel / (first["pixel"] or manifest.thresholds.pixel)
    warn = manifest.thresholds.warn
    return Thresholds(image=image, pixel=pixel, warn=warn if warn is None else image * warn / manifest.thresholds.image)


def _calibration_samples(run: Path, fitted: Patchcore) -> list[Sample]:
    """The images that the run was calibrated with, and defects made on them; none before it was."""
    calibration = load_calibration(run)
    images = list(calibration_images(run, calibration).values()) if calibration else []
    seen = calibration is not None and calibration.unseen_bank
    return gate_samples(images, cell=patch_cell(fitted), hidden=fitted.hidden, seen=seen) if images else []


def _labelled(data: Path, good: Sequence[str], fitted: Patchcore, facts: RunFacts) -> Iterator[Sample]:
    """All splits but the training one, or a plain folder of good images."""
    module = open_data(data, good=good or facts.good, recursive=facts.recursive)
    seen = set(facts.train_sha256)
    items = module.validation + module.test or module.train
    dataset = DataModule.dataset(items, fitted.pre_processor.spec)
    for index, item in enumerate(items):
        yield Sample(dataset.image(index), item.is_defective, seen=file_sha256(item.path) in seen)


def _golden(
    folder: Path,
    fitted: Patchcore,
    images: list[Image],
    built: BuildResult,
    inputs: CalibrationInputs,
    options: GraphOptions,
) -> tuple[GoldenImage, ...]:
    # A graph that is not to score as torch does, or was kept although it does not, can only be held to itself.
    own = built.quantization is not None or not built.parity.passed
    graph = OpenVINOBackend(folder / MODEL_XML, "CPU", "latency")
    tolerance = OWN_TOLERANCE if own else SCORE_LIMITS[options.precision]
    chosen = choose_golden(fitted, images, inputs.labelled, seen=inputs.unseen is not None)
    lower = {
        one.name: (
            OpenVINOBackend(folder / MODEL_XML, "CPU", "latency", inference_precision=one.name),
            LowerTolerance(score=SCORE_LIMITS[one.name], map=LIMITS[one.name].map_for(built.search)),
        )
        for one in built.lower
        if one.parity.passed
    }
    of_maps = max(built.parity.map_limit, LEAST_MAP_TOLERANCE)
    return write_golden(folder, chosen, Expectation(graph, own, tolerance, of_maps, lower))


def _as_it_leaves(facts: CalibrationFacts) -> CalibrationFacts:
    """The record of a calibration without the folders of the machine that made it."""
    names = {"data": without_folders(facts.data), "warnings": tuple(printable(text)[:1000] for text in facts.warnings)}
    return facts.model_copy(update=names)


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
        score=facts.score,
        pca=facts.pca,
        patch_stride=facts.patch_stride,
        patch_size=facts.patch_size,
        centering=facts.centering,
        augment=facts.augment,
        ignore_masks=fitted.ignore_masks,
    )


def _manifest(
    folder: Path,
    fitted: Patchcore,
    facts: RunFacts,
    calibration: Calibration,
    built: BuildResult,
    golden: tuple[GoldenImage, ...],
    options: GraphOptions,
) -> Manifest:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return Manifest(
        name=printable(facts.name)[:MAX_NAME],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        batch=options.batch,
        preprocess=fitted.pre_processor.spec,
        model=_model_facts(fitted, facts),
        precision=options.precision,
        search=built.search,
        search_facts=built.search_facts,
        compressed_weights=options.compress_weights,
        lower_precisions=built.lower,
        quantization=built.quantization,
        thresholds=built.thresholds,
        torch_thresholds=None if built.quantization is None else calibration.thresholds,
        calibration=_as_it_leaves(calibration.facts),
        sanity=calibration.sanity,
        parity=built.parity,
        golden=golden,
        files={path.relative_to(folder).as_posix(): file_facts(path) for path in files},
        tools={"patchcore-edge": __version__, **{name: version(name) for name in _TOOLS}},
    )
