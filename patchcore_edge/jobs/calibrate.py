"""``calibrate``: thresholds for a run, with what they promise and what they would catch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from patchcore_edge_runtime.bundle.manifest import CalibrationFacts
from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.frame_check import learn_limits
from patchcore_edge_runtime.path_text import path_text
from patchcore_edge_runtime.verdict import Thresholds

from ..data import DataModule, ImageItem, describe_batches, open_data
from ..data.decoded_files import DecodedFiles
from ..engine import Engine, resolve_device
from ..fit.distributed.ranks import ranks
from ..runs.checkpoint import load_run, save_calibration
from ..runs.facts import Calibration, RunFacts, ViewFacts
from ..thresholds import DEFAULT_FPR, calibrate_good, calibrate_on_defects, describe, require_rate
from .beforehand import training_data
from .out_of_sample import OutOfSample, Scored
from .shared import shared_files
from .sight import SightOptions, look_otherwise
from .telling import tell_data, telling

__all__ = ["CalibrationResult", "calibrate_run"]


@dataclass(frozen=True)
class CalibrationResult:
    """What a calibration found; as a string what a person should know of it.

    Attributes:
        thresholds: as they are in the run now.
        facts: how they were found, and what they promise.
        scored: the images they were found with.
    """

    thresholds: Thresholds
    facts: CalibrationFacts
    scored: Scored

    def __str__(self) -> str:
        warnings = (f"Warning: {warning}" for warning in self.facts.warnings)
        return "\n".join([describe(self.thresholds, self.facts), *warnings])


def calibrate_run(
    folder: Path,
    data: Path | DataModule | None,
    target_fpr: float | None,
    device: str,
    *,
    strict: bool = False,
    group_by: str | None = None,
    good: Sequence[str] = (),
    sight: SightOptions | None = None,
    notify: Callable[[str], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> CalibrationResult:
    """Set a run's thresholds.

    From, in this order: the validation split, by the highest F1 where it has labelled defects and no rate is asked for;
    the images among ``data`` that the fit held out; a plain folder of good images that the run was not trained on; the
    training images themselves, cross-fitted.

    Args:
        folder: RUN.
        data: with a validation split, or good images; of a datamodule no report is made. What the run was trained on
            when None.
        target_fpr: share of good parts that may be called NG; when None and there are no labelled defects, a rate of at
            most 5 % that the images support.
        device: torch's name.
        strict: stop at an image that cannot be read.
        group_by: pattern that finds an image's batch in its path; the run's own when None.
        good: names of the folders of good parts; the run's own when empty.
        sight: what of the images counts besides what the run has; the line will look at the same.
        notify: takes a sentence for a person before the work.
        warn: takes what is doubtful about the data, a sentence each; ``notify`` when None.

    Raises:
        ConfigError: the rate is not in (0, 1), or the images do not give thresholds.
        DataError: an image that the run was trained on is among others that it was not.
        CheckpointError: ``folder`` is no checkpoint.
    """
    if target_fpr is not None:
        require_rate(target_fpr)
    resolve_device(device)

    say = telling(notify)
    model, facts = load_run(folder)
    if data is None:
        data = training_data(folder, facts)
        say(f"Calibrating with the data of the fit, {path_text(data)}.")
    module = open_data(data, group_by=group_by or facts.group_by, good=good or facts.good, recursive=facts.recursive)
    if module is not data:
        tell_data(module, say, warn, decode_masks=any(item.is_defective for item in module.validation), strict=strict)
    other = look_otherwise(model, sight, module.validation or module.train, "thresholds", say)
    with shared_files(module.validation or module.train, model.pre_processor.spec) as files:
        items, trained_on = _calibration_items(module, facts, files)
        say(describe_batches([item for item in items if not item.is_defective]))
        out_of_sample = OutOfSample(Engine(device, strict=strict), model, facts, files, say)
        if target_fpr is None and any(item.is_defective for item in items):
            scored = out_of_sample.labelled(items)
            thresholds, found = _by_f1(scored, str(module))
        else:
            scored = out_of_sample.cross_fitted(items) if trained_on else out_of_sample.held_out(items)
            thresholds, found = calibrate_good(scored.good, target_fpr, str(module), scored.method, scored.caught)
        result = CalibrationResult(thresholds, _with_shift(found, scored), scored)
        ranks().by_first(lambda: _save(folder, result, files, other))
    return result


def _by_f1(scored: Scored, data: str) -> tuple[Thresholds, CalibrationFacts]:
    both = scored.all_scores
    assert both is not None
    return calibrate_on_defects(
        both.scores, both.labels, both.map_maxima, both.pixels, DEFAULT_FPR, data, scored.good.names, scored.caught
    )


def _calibration_items(module: DataModule, facts: RunFacts, files: DecodedFiles) -> tuple[list[ImageItem], bool]:
    """The images to calibrate with, and whether they are those that the run was trained on."""
    everything = module.validation or module.train
    seen, there = set(facts.train_sha256), {files.digest(item.path) for item in everything}
    # What the fit took out of the folder, by itself or because it was told to, is neither seen nor to be trusted.
    left_out = set() if module.validation else set(facts.left_out_sha256)
    items = [item for item in everything if files.digest(item.path) not in left_out]
    known = [item for item in items if files.digest(item.path) in seen]
    unseen = [item for item in items if files.digest(item.path) not in seen]
    if known and not module.validation and set(facts.held_out_sha256) & there - seen:
        # The folder that was split for the fit, with both parts in it.
        return unseen, False
    # The fit left out what it could not read.
    if known and (module.validation or any(files.is_usable(item.path) for item in unseen)):
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


def _with_shift(found: CalibrationFacts, scored: Scored) -> CalibrationFacts:
    """The record with what the order of the files says of a batch that nobody has seen."""
    if scored.shift is None:
        return found
    if scored.method == "cross-fitted":
        then = (
            f"Neighbouring files are alike, so {found.batches} stretches of files were held out one after the other, "
            "as if each were a batch. Name the batches, if you know them, by subfolders or --group-by."
        )
    else:
        then = (
            "The rate holds for parts of the batches that these images come from; a new batch may be rejected far more "
            "often. Name the batches by subfolders or --group-by, and the bound will be for a new one."
        )
    return found.model_copy(update={"warnings": (*found.warnings, f"{scored.shift} {then}")})


def _save(folder: Path, result: CalibrationResult, files: DecodedFiles, view: ViewFacts | None) -> None:
    scored = result.scored
    kept = {f"{place:03d}.png": index for place, index in enumerate(scored.kept)}
    calibration = Calibration(
        thresholds=result.thresholds,
        facts=result.facts,
        images={name: scored.kept[index] for name, index in kept.items()},
        # What the frames of these good images have in common.
        sanity=learn_limits(files.stats(item.path) for item in scored.items),
        unseen_bank=scored.bank is not None,
        view=view,
    )
    images = ((name, files.pixels(scored.items[index].path)) for name, index in kept.items())
    save_calibration(folder, calibration, images, scored.bank)
