"""The host's jobs from folder to folder: train, calibrate, evaluate. The command line only parses and prints."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.preprocess import PreprocessSpec
from patchcore_edge_runtime.verdict import Thresholds

from . import __version__
from .calibration import calibrate, describe
from .checkpoint import Calibration, RunFacts, load_calibration, load_run, save_calibration, save_run
from .data import DataModule, ImageItem, open_data, prediction_items
from .engine import Engine
from .evaluator import Evaluation, Scores, collect_scores, evaluate
from .models import Patchcore
from .pre_processor import PreProcessor
from .report import write_report
from .weights import HUB, local_weights

__all__ = ["TrainOptions", "calibrate_run", "evaluate_run", "save_fitted", "train_run"]

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
    strict: bool = False


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
        post_processor=False,  # thresholds are `calibrate`'s
        weights=_weights_file(options),
        seed=options.seed,
    )
    Engine(options.device, strict=options.strict).fit(model, module)
    return save_fitted(folder, model, module)


def save_fitted(folder: Path, model: Patchcore, module: DataModule) -> RunFacts:
    """Write the RUN folder of a model that was fitted on ``module.train``."""
    if model.pre_processor.prepared:
        raise ConfigError("A model without a pre-processor cannot be saved as a run; build it with one.")
    facts = RunFacts(
        name=folder.resolve().name,
        backbone=model.model.backbone,
        layers=model.model.layers,
        num_neighbors=model.model.num_neighbors,
        coreset_sampling_ratio=model.coreset_sampling_ratio,
        seed=model.seed,
        preprocess=model.pre_processor.spec,
        train_data=str(module.root),
        train_sha256=tuple(_sha256(item) for item in module.train),
        patches=model.pool_size,
        bank_size=len(model.model.memory_bank),
        tools={"patchcore-edge": __version__, **{name: version(name) for name in ("torch", "timm", "opencv-python")}},
    )
    dataset = DataModule.dataset(module.train, model.pre_processor.spec)
    save_run(folder, model, facts, (dataset.image(index) for index in _evenly(len(dataset))))
    return facts


def calibrate_run(
    folder: Path, data: Path | DataModule, target_fpr: float, device: str, *, strict: bool = False
) -> str:
    """Set a run's thresholds from good images it was not trained on; returns what a person should know.

    Raises:
        DataError: no held-out images, or one that the run was trained on.
        CheckpointError: ``folder`` is no checkpoint.
    """
    model, facts = load_run(folder)
    items = _held_out(open_data(data), facts)
    dataset = DataModule.dataset(items, model.pre_processor.spec)
    scores = collect_scores(Engine(device, strict=strict).stream(model, dataset))
    thresholds, found = calibrate(scores.scores, scores.map_maxima, target_fpr, str(data))
    # Least to most anomalous, both ends included: export compares torch and IR on these.
    order = np.argsort(scores.scores)
    chosen = _evenly(len(order))
    kept = {f"{place:03d}.png": int(index) for place, index in enumerate(order[chosen])}
    calibration = Calibration(
        thresholds=thresholds,
        facts=found,
        images={name: float(scores.scores[index]) for name, index in kept.items()},
    )
    save_calibration(folder, calibration, ((name, dataset.image(index)) for name, index in kept.items()))
    return describe(thresholds, found)


def evaluate_run(folder: Path, data: Path, device: str, report: Path, *, strict: bool = False) -> Evaluation:
    """Score the test images under ``data`` and write the report.

    Raises:
        DataError: there are no test images.
        CheckpointError: ``folder`` is no checkpoint.
    """
    model, facts = load_run(folder)
    calibration = load_calibration(folder)
    module = open_data(data)
    dataset = DataModule.dataset(prediction_items(module), model.pre_processor.spec)
    scores = collect_scores(Engine(device, strict=strict).stream(model, dataset))
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


def _evenly(count: int) -> list[int]:
    """Up to ``_KEPT_IMAGES`` places from first to last."""
    return [int(v) for v in np.unique(np.linspace(0, count - 1, min(_KEPT_IMAGES, count)).round())]


def _sha256(item: ImageItem) -> str:
    try:
        return hashlib.sha256(item.path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{item.path} cannot be read ({error.strerror}).") from None
