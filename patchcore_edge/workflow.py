"""The host's jobs from folder to folder: train, calibrate, evaluate. The command line only parses and prints."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.preprocess import PreprocessSpec, preprocess
from patchcore_edge_runtime.sanity import SanityLimits, learn_limits, measure
from patchcore_edge_runtime.sources import read_image
from patchcore_edge_runtime.verdict import Thresholds

from . import __version__
from .calibration import calibrate, describe
from .checkpoint import Calibration, RunFacts, load_calibration, load_run, save_calibration, save_run
from .data import DataModule, ImageItem, open_data
from .engine import Engine
from .evaluator import Evaluation, Scores, collect_scores, evaluate
from .models import Patchcore
from .pre_processor import PreProcessor
from .report import write_report
from .weights import HUB, local_weights

__all__ = ["TrainOptions", "calibrate_run", "evaluate_run", "train_run"]

_KEPT_IMAGES = 128


@dataclass(frozen=True)
class TrainOptions:
    """What ``train`` can be told; ``weights`` is a file, ``hub``, or None for what this machine has."""

    backbone: str
    layers: tuple[str, ...]
    coreset_sampling_ratio: float
    num_neighbors: int
    image_size: tuple[int, int]
    weights: str | None
    seed: int
    device: str


def train_run(data: Path, folder: Path, options: TrainOptions) -> RunFacts:
    """Fit on the good images under ``data`` and write the RUN folder.

    Raises:
        DataError: no data, or an image that cannot be used.
        ConfigError: an option that cannot be met.
        CheckpointError: ``folder`` is taken by something else.
    """
    module = open_data(data)
    height, width = options.image_size
    model = Patchcore(
        options.backbone,
        options.layers,
        pre_trained=True,
        coreset_sampling_ratio=options.coreset_sampling_ratio,
        num_neighbors=options.num_neighbors,
        pre_processor=PreProcessor(PreprocessSpec(height=height, width=width)),
        weights=_weights_file(options),
        seed=options.seed,
    )
    Engine(options.device).fit(model, module)
    facts = RunFacts(
        name=folder.resolve().name,
        backbone=options.backbone,
        layers=options.layers,
        num_neighbors=options.num_neighbors,
        coreset_sampling_ratio=options.coreset_sampling_ratio,
        seed=options.seed,
        preprocess=model.pre_processor.spec,
        train_data=str(module.root),
        train_sha256=tuple(_sha256(item) for item in module.train),
        patches=model.pool_size,
        bank_size=len(model.model.memory_bank),
        tools={"patchcore-edge": __version__, **{name: version(name) for name in ("torch", "timm", "opencv-python")}},
    )
    save_run(folder, model, facts)
    return facts


def calibrate_run(folder: Path, data: Path, target_fpr: float, device: str) -> str:
    """Set a run's thresholds from good images it was not trained on; returns what a person should know.

    Raises:
        DataError: no held-out images, or one that the run was trained on.
        CheckpointError: ``folder`` is no checkpoint.
    """
    model, facts = load_run(folder)
    items = _held_out(open_data(data), facts)
    dataset = DataModule.dataset(items, model.pre_processor.spec)
    scores = collect_scores(Engine(device).predict(model, dataset))
    thresholds, found = calibrate(scores.scores, scores.map_maxima, target_fpr, str(data))
    # Least to most anomalous, both ends included: export compares torch and IR on these.
    order = np.argsort(scores.scores)
    chosen = np.unique(np.linspace(0, len(order) - 1, min(_KEPT_IMAGES, len(order))).round().astype(int))
    kept = {f"{place:03d}.png": int(index) for place, index in enumerate(order[chosen])}
    calibration = Calibration(
        thresholds=thresholds,
        facts=found,
        images={name: float(scores.scores[index]) for name, index in kept.items()},
        sanity=_sanity_limits(items, model.pre_processor.spec),
    )
    save_calibration(folder, calibration, ((name, dataset.image(index)) for name, index in kept.items()))
    return describe(thresholds, found)


def evaluate_run(folder: Path, data: Path, device: str, report: Path) -> Evaluation:
    """Score the test images under ``data`` and write the report.

    Raises:
        DataError: there are no test images.
        CheckpointError: ``folder`` is no checkpoint.
    """
    model, facts = load_run(folder)
    calibration = load_calibration(folder)
    module = open_data(data)
    if not module.test:
        raise DataError(f"{data} has no test images; put them into test/good and test/<defect>.")
    dataset = DataModule.dataset(module.test, model.pre_processor.spec)
    scores = collect_scores(Engine(device).predict(model, dataset))
    thresholds = calibration.thresholds if calibration else None
    evaluation = evaluate(scores, thresholds)
    write_report(
        report,
        f"{facts.name}: {data}",
        _facts_table(model, facts, calibration),
        scores,
        evaluation,
        _pixel_scale(scores, thresholds),
        dataset.image,
    )
    return evaluation


def _pixel_scale(scores: Scores, thresholds: Thresholds | None) -> float:
    """Where the heatmaps' colours have their middle; without a calibration, what no good image exceeds."""
    if thresholds is not None:
        return thresholds.pixel
    good = scores.map_maxima[~scores.labels]
    return float(good.max() if len(good) else np.median(scores.map_maxima))


def _facts_table(model: Patchcore, facts: RunFacts, calibration: Calibration | None) -> dict[str, str]:
    bank = model.model.memory_bank
    return {
        "backbone": f"{facts.backbone}, layers {', '.join(facts.layers)}",
        "input": f"{facts.preprocess.input_size[1]} x {facts.preprocess.input_size[0]} pixels",
        "memory bank": f"{len(bank):,} x {bank.shape[1]} ({facts.coreset_sampling_ratio:.2%} of the patches)",
        "neighbours": str(facts.num_neighbors),
        "trained on": f"{len(facts.train_sha256)} images of {facts.train_data}",
        "thresholds": describe(calibration.thresholds, calibration.facts) if calibration else "not calibrated",
        "made with": ", ".join(f"{name} {version}" for name, version in facts.tools.items()),
    }


def _weights_file(options: TrainOptions) -> Path | None:
    if options.weights is not None:
        return None if options.weights == HUB else Path(options.weights)
    if local_weights(options.backbone) is None:
        raise DataError(
            f"There are no weights for {options.backbone} on this machine; "
            f"give --weights PATH, or --weights {HUB} to download timm's."
        )
    return None


def _held_out(module: DataModule, facts: RunFacts) -> list[ImageItem]:
    """Good images for calibration: the validation split, or the whole of a plain folder."""
    items = module.validation or ([] if module.test else module.train)
    if not items:
        raise DataError(f"{module.root} has no validation/good; put good images there that are not in train/good.")
    seen = set(facts.train_sha256)
    for item in items:
        if _sha256(item) in seen:
            raise DataError(
                f"{item.path} is one of the images the model was trained on and would score near zero; "
                "calibrate with good images that were held out."
            )
    return items


def _sanity_limits(items: list[ImageItem], spec: PreprocessSpec) -> SanityLimits | None:
    """What the frames of these good images have in common; files that cannot be used have been refused before."""
    frames = (read_image(item.path) for item in items)
    return learn_limits(measure(preprocess(frame, spec), frame.shape[:2]) for frame in frames)


def _sha256(item: ImageItem) -> str:
    try:
        return hashlib.sha256(item.path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{item.path} cannot be read ({error.strerror}).") from None
