"""``eval``: a fitted run on test images, and its report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.path_text import path_text
from patchcore_edge_runtime.verdict import Thresholds

from ..data import Batch, DataModule, FolderRules, ImageDataset, ImageItem, open_tests
from ..data.digests import FileDigests
from ..data.file_names import some_names
from ..engine import Engine, resolve_device
from ..fit.distributed.ranks import ranks
from ..metrics.evaluator import Evaluation, evaluate
from ..metrics.scores import Scores
from ..models import Patchcore
from ..reporting.report import View, write_report
from ..runs.checkpoint import load_calibrated
from ..runs.facts import Calibration, RunFacts
from ..thresholds import describe
from .beforehand import training_data
from .shared import shared_digests, shared_scores
from .sight import SightOptions, look_otherwise, looked_at
from .telling import tell_data, telling

__all__ = ["evaluate_run"]


def evaluate_run(
    folder: Path,
    data: Path | None,
    device: str,
    report: Path,
    *,
    strict: bool = False,
    group_by: str | None = None,
    good: Sequence[str] = (),
    sight: SightOptions | None = None,
    warn: Callable[[str], None] | None = None,
    notify: Callable[[str], None] | None = None,
) -> Evaluation:
    """Score the test images under ``data``, which needs no more than ``test``, and write the report.

    Args:
        folder: RUN.
        data: folder, or a list of files, with test images; what the run was trained on when None.
        device: torch's name.
        report: HTML file to write.
        strict: stop at an image that cannot be read.
        group_by: pattern that finds a good image's batch in its path; the run's own when None.
        good: names of the folders, or labels, of good parts; the run's own when empty.
        sight: what of the images counts besides what the run has.
        warn: takes what a person has to know before trusting the figures, a sentence each.
        notify: takes what there is, before the work.

    Raises:
        DataError: there are no test images.
        ConfigError: the report cannot be written.
        CheckpointError: ``folder`` is no checkpoint.
    """
    if report.is_dir():
        raise ConfigError(f"{report} is a folder; give the name of the file to write.")
    resolve_device(device)
    model, facts, calibration = load_calibrated(folder)
    say = telling(warn)
    for sentence in calibration.facts.warnings if calibration is not None else ():
        say(sentence)
    if data is None:
        data = training_data(folder, facts)
    module = open_tests(data, FolderRules(group_by or facts.group_by, tuple(good) or facts.good, facts.recursive))
    items = module.test
    if not items:
        where = f"{data} has no test images" if data.exists() else f"There is no folder {data}"
        raise DataError(f"{where}; put good test images into test/good and others into test/<defect>.")
    digests = FileDigests()
    shared_digests([item.path for item in items], digests)
    tell_data(module, telling(notify), say, digests, decode_masks=True, strict=strict)
    seen = _seen(items, facts, digests)
    say(seen)
    look_otherwise(model, sight, items, "figures", say)
    dataset = DataModule.dataset(items, model.pre_processor.spec)
    unseen = _Unseen()
    scores = _known(shared_scores(Engine(device, strict=strict), model, dataset, watch=unseen.watch), items)
    if warn is not None and (model.pre_processor.spec.roi is not None or model.hidden is not None):
        unseen.tell(warn)
    thresholds = calibration.thresholds if calibration else None
    evaluation = evaluate(scores, thresholds)
    unmasked = _unmasked(evaluation)
    say(unmasked)
    ranks().by_first(
        lambda: write_report(
            report,
            f"{facts.name}: {data}",
            _facts_table(model, facts, calibration),
            scores,
            evaluation,
            _pixel_scale(scores, thresholds),
            partial(_views, Engine(device, strict=True), model, dataset),
            calibration.facts if calibration else None,
            [sentence for sentence in (seen, unmasked) if sentence],
        )
    )
    return evaluation


def _seen(items: Sequence[ImageItem], facts: RunFacts, digest: FileDigests) -> str:
    """What has to be said where the model knows some of the images already; empty where it does not."""
    trained, held = set(facts.train_sha256), set(facts.held_out_sha256)
    known = [item for item in items if digest(item.path) in trained]
    calibrated = sum(digest(item.path) in held for item in items)
    if known:
        defects = sum(item.is_defective for item in known)
        bad = f", {defects} of them labelled as defects" if defects else ""
        return (
            f"The model was trained on {len(known)} of these {len(items)} test images ({some_names(known)}){bad}: it "
            "knows them by heart, and what is measured on them flatters. Test with images that it has not seen."
        )
    if calibrated:
        return (
            f"{calibrated} of these {len(items)} test images were held out of the fit to calibrate with, so the "
            "threshold may have been set by them; test with images of their own."
        )
    return ""


def _unmasked(evaluation: Evaluation) -> str:
    """What the pixel metrics are not over; empty where they are over all images."""
    if evaluation.pixel_auroc is None:
        none = "There are no pixel metrics: no defective image has a mask that says which of its pixels are defective."
        return none if evaluation.defective else ""
    if evaluation.pixel_images == evaluation.images:
        return ""
    return (
        f"The pixel metrics are over {evaluation.pixel_images} of {evaluation.images} images, with "
        f"{evaluation.pixel_masks} of {evaluation.defective} defective ones: of the others it is not known which "
        "pixels are defective."
    )


class _Unseen:
    """Counts defective images whose marked defect lies where nothing is inspected."""

    def __init__(self) -> None:
        self._marked: list[Path] = []

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            if batch.gt_label is not None and batch.gt_mask is not None:
                nothing = batch.gt_label & ~batch.gt_mask.flatten(1).any(1)
                self._marked += [path for path, one in zip(batch.image_path, nothing.tolist(), strict=True) if one]
            yield batch

    def tell(self, warn: Callable[[str], None]) -> None:
        marked = [name for some in ranks().values([path_text(path.name) for path in self._marked]) for name in some]
        if marked:
            names = ", ".join(marked[:3])
            warn(
                f"{len(marked)} defective images have their whole defect where nothing is inspected (--roi, "
                f"--ignore-mask), and cannot be found by it: {names}{', …' if len(marked) > 3 else ''}."
            )


def _known(scores: Scores, items: list[ImageItem]) -> Scores:
    """The scores with each image's label and batch: what its folder is called may be either."""
    found = {item.path: item for item in items}
    kinds = [found[path].label or "" for path in scores.paths]
    return replace(scores, kinds=kinds, groups=[found[path].batch for path in scores.paths])


def _views(engine: Engine, model: Patchcore, dataset: ImageDataset, paths: list[Path]) -> Iterator[View]:
    """Some images, scored once more: the maps of all of them may not fit into memory."""
    places = {item.path: place for place, item in enumerate(dataset.items)}
    shown = dataset.part([places[path] for path in paths])
    number = count()
    for batch in engine.stream(model, shown, "pictures"):
        assert batch.anomaly_map is not None
        for place in range(len(batch.image)):
            mask = None if batch.gt_mask is None else batch.gt_mask[place].numpy()
            yield View(shown.photo(next(number)), batch.anomaly_map[place, 0].numpy(), mask)


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
        "input": f"{facts.preprocess.input_size[1]} x {facts.preprocess.input_size[0]} pixels of {looked_at(model)}",
        "memory bank": f"{len(bank):,} x {bank.shape[1]} ({facts.coreset_sampling_ratio:.2%} of the patches)",
        "neighbours": str(facts.num_neighbors),
        "trained on": f"{len(facts.train_sha256)} images of {facts.train_data}{held_out}",
        "thresholds": describe(calibration.thresholds, calibration.facts) if calibration else "not calibrated",
        "made with": ", ".join(f"{name} {version}" for name, version in facts.tools.items()),
    }
