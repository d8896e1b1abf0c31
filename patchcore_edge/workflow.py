"""The host's jobs from folder to folder: train, calibrate, evaluate. The command line only parses and prints."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.preprocess import PreprocessSpec, preprocess
from patchcore_edge_runtime.sanity import SanityLimits, learn_limits, measure
from patchcore_edge_runtime.sources import read_image
from patchcore_edge_runtime.verdict import Thresholds

from .calibration import DEFAULT_TARGET_FPR, calibrate, calibrate_on_scores, describe, require_rate
from .checkpoint import Calibration, RunFacts, load_calibration, load_run, save_calibration
from .crossfit import cross_fitted_scores
from .data import DataModule, ImageDataset, ImageItem, open_data, test_items
from .engine import Engine
from .evaluator import Evaluation, Scores, collect_scores, evaluate
from .models import Patchcore
from .report import View, write_report
from .training import TrainOptions, evenly, file_sha256, save_fitted, train_run

__all__ = ["TrainOptions", "calibrate_run", "evaluate_run", "save_fitted", "train_run"]

_Floats = NDArray[np.float32]


def calibrate_run(
    folder: Path, data: Path | DataModule, target_fpr: float | None, device: str, *, strict: bool = False
) -> str:
    """Set a run's thresholds; returns what a person should know.

    From, in this order: the validation split, by the highest F1 where it has labelled defects and no rate is asked for;
    the images among ``data`` that the fit held out; a plain folder of good images that the run was not trained on; the
    training images themselves, cross-fitted.

    Args:
        folder: RUN.
        data: with a validation split, or good images.
        target_fpr: share of good parts that may be called NG; 0.001 when None and there are no labelled defects.
        device: torch's name.
        strict: stop at an image that cannot be read.

    Raises:
        ConfigError: the rate is not in (0, 1), or the images do not give thresholds.
        DataError: an image that the run was trained on is among others that it was not.
        CheckpointError: ``folder`` is no checkpoint.
    """
    if target_fpr is not None:
        require_rate(target_fpr)
    model, facts = load_run(folder)
    module = open_data(data)
    engine = Engine(device, strict=strict)
    items, trained_on = _calibration_items(module, facts)
    dataset = DataModule.dataset(items, model.pre_processor.spec)
    if trained_on:
        scores, maxima = _cross_fitted(engine, model, module)
        dataset.items = list(module.train)
        rate = DEFAULT_TARGET_FPR if target_fpr is None else target_fpr
        thresholds, found = calibrate(scores, maxima, rate, str(module.root), "cross-fitted")
    else:
        if target_fpr is not None:
            dataset.items = [item for item in items if not item.is_defective]
        labelled = collect_scores(engine.stream(model, dataset))
        thresholds, found = calibrate_on_scores(labelled, target_fpr, str(module.root))
        scores = labelled.scores
    good = [i for i in np.argsort(scores) if not dataset.items[i].is_defective]
    # Least to most anomalous, both ends included: export compares torch and IR on these.
    kept = {f"{place:03d}.png": int(good[i]) for place, i in enumerate(evenly(len(good)))}
    calibration = Calibration(
        thresholds=thresholds,
        facts=found,
        images={name: float(scores[index]) for name, index in kept.items()},
        sanity=_sanity_limits([dataset.items[i] for i in good], model.pre_processor.spec),
    )
    save_calibration(folder, calibration, ((name, dataset.image(index)) for name, index in kept.items()))
    return describe(thresholds, found)


def _calibration_items(module: DataModule, facts: RunFacts) -> tuple[list[ImageItem], bool]:
    """The images to calibrate with, and whether they are those that the run was trained on."""
    items = module.validation or module.train
    seen = set(facts.train_sha256)
    digests = [file_sha256(item) for item in items]
    known = [item for item, digest in zip(items, digests, strict=True) if digest in seen]
    unseen = [item for item, digest in zip(items, digests, strict=True) if digest not in seen]
    held_out = set(facts.held_out_sha256) & set(digests) - seen
    if known and held_out and not module.validation:
        return unseen, False  # the folder that was split for the fit, with both parts in it
    if known and (module.validation or any(_is_usable(item, facts.preprocess) for item in unseen)):
        raise DataError(
            f"{known[0].path} is one of the images the model was trained on and would score near zero; "
            "calibrate with good images that were held out."
        )
    if not module.validation and module.test and not known:
        raise DataError(
            f"{module.root} has no validation/good, and the run was not trained on its train/good; "
            "give the data that it was trained on, or a folder of held-out good images."
        )
    return items, bool(known)


def _is_usable(item: ImageItem, spec: PreprocessSpec) -> bool:
    """Whether the fit could have used a file; it leaves out those that cannot be read."""
    try:
        DataModule.dataset([item], spec).image(0)
    except DataError:
        return False
    return True


def _cross_fitted(engine: Engine, model: Patchcore, module: DataModule) -> tuple[_Floats, _Floats]:
    with engine.features(model, module) as store:
        return cross_fitted_scores(
            model.model,
            store.pool(),
            len(store.images),
            model.pre_processor.spec.input_size,
            model.coreset_sampling_ratio,
            model.seed,
        )


def evaluate_run(folder: Path, data: Path, device: str, report: Path, *, strict: bool = False) -> Evaluation:
    """Score the test images under ``data``, which needs no more than ``test``, and write the report.

    Raises:
        DataError: there are no test images.
        ConfigError: the report cannot be written.
        CheckpointError: ``folder`` is no checkpoint.
    """
    if report.is_dir():
        raise ConfigError(f"{report} is a folder; give the name of the file to write.")
    model, facts = load_run(folder)
    calibration = load_calibration(folder)
    items = test_items(data)
    if not items:
        where = f"{data} has no test images" if data.is_dir() else f"There is no folder {data}"
        raise DataError(f"{where}; put good test images into test/good and others into test/<defect>.")
    dataset = DataModule.dataset(items, model.pre_processor.spec)
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
        partial(_views, Engine(device, strict=True), model, dataset),
    )
    return evaluation


def _views(engine: Engine, model: Patchcore, dataset: ImageDataset, indices: list[int]) -> Iterator[View]:
    """Some images, scored once more: the maps of all of them may not fit into memory."""
    shown = DataModule.dataset([dataset.items[index] for index in indices], model.pre_processor.spec)
    for batch in engine.stream(model, shown, "pictures"):
        assert batch.anomaly_map is not None
        for place, image in enumerate(batch.image):
            mask = None if batch.gt_mask is None else batch.gt_mask[place].numpy()
            yield View(np.asarray(image.numpy(), np.uint8), batch.anomaly_map[place, 0].numpy(), mask)


def _pixel_scale(scores: Scores, thresholds: Thresholds | None) -> float:
    """Where the heatmaps turn orange; without a calibration, what no good image exceeds."""
    if thresholds is not None:
        return thresholds.pixel
    good = scores.map_maxima[~scores.labels]
    return float(good.max() if len(good) else np.median(scores.map_maxima))


def _facts_table(model: Patchcore, facts: RunFacts, calibration: Calibration | None) -> dict[str, str]:
    bank = model.model.memory_bank
    held_out = f", {len(facts.held_out_sha256)} held out" if facts.held_out_sha256 else ""
    return {
        "backbone": f"{facts.backbone}, layers {', '.join(facts.layers)}",
        "input": f"{facts.preprocess.input_size[1]} x {facts.preprocess.input_size[0]} pixels",
        "memory bank": f"{len(bank):,} x {bank.shape[1]} ({facts.coreset_sampling_ratio:.2%} of the patches)",
        "neighbours": str(facts.num_neighbors),
        "trained on": f"{len(facts.train_sha256)} images of {facts.train_data}{held_out}",
        "thresholds": describe(calibration.thresholds, calibration.facts) if calibration else "not calibrated",
        "made with": ", ".join(f"{name} {version}" for name, version in facts.tools.items()),
    }


def _sanity_limits(items: list[ImageItem], spec: PreprocessSpec) -> SanityLimits | None:
    """What the frames of these good images have in common; files that cannot be used have been refused before."""
    frames = (read_image(item.path) for item in items)
    return learn_limits(measure(preprocess(frame, spec), frame.shape[:2]) for frame in frames)
