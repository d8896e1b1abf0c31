"""Writes ``docs/robustness.md``: python -m benchmarks.robustness --shared DIR [--only NAME].

Fits and calibrates as the command line does by default, then judges the test images again and again, each time changed
as light, focus, noise, compression or a part's place would change them (``benchmarks/corruptions.py``).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from patchcore_edge.data import DataModule, ImageItem
from patchcore_edge.data.evenly_spaced import evenly_chosen
from patchcore_edge.jobs.calibrate import calibrate_run
from patchcore_edge.jobs.train import TrainOptions, train_run
from patchcore_edge.models import Patchcore
from patchcore_edge.runs.checkpoint import load_calibration, load_run
from patchcore_edge.runs.facts import Calibration
from patchcore_edge_runtime.bundle.recipe import Augmentation, AugmentOptions, ScoreRule
from patchcore_edge_runtime.images.files import read_image
from patchcore_edge_runtime.images.frame_check import check_frame
from patchcore_edge_runtime.images.preprocess import preprocess
from patchcore_edge_runtime.verdict import Verdict

from .corruptions import Change, conditions
from .pages import write_page
from .works import Work, all_works

PLACE_AND_LIGHT = (Augmentation.BRIGHTNESS, Augmentation.CONTRAST, Augmentation.SHIFT, Augmentation.TURN)
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "--augment brightness,contrast,shift,turn": {"augment": AugmentOptions(kinds=PLACE_AND_LIGHT)},
}
"""What is fitted: by name, the fields of ``TrainOptions`` that differ from the default's."""
IMAGES = 150
"""Most test images of either kind: they are judged more than twenty times."""
BATCH = 16

HEAD = """# Robustness

Written by `python -m benchmarks.robustness --shared ../shared` on the CPU. A model is fitted on the training images as
they are and calibrated (`calibrate` without a rate); then the test images are changed, one way at a time, and judged.
"""
_COLUMNS = "| test images | good: OK | good: ERROR | defective: NG or ERROR | image AUROC |\n" + "|---" * 5 + "|"

FOOT = """
- *OK*: the score is not above the calibrated threshold, and the frame passed the runtime's check. *ERROR*: it did not:
  the check compares size, brightness, sharpness, black and white with what `calibrate` saw of good images. A model that
  calls all of a changed camera's parts NG, or refuses them, stops the line; one that calls defects OK does worse.
- *Image AUROC*: of all images, those with ERROR too, by their scores.
- *Brightness, contrast, defocus, Gaussian noise, JPEG*: Hendrycks and Dietterich, "Benchmarking Neural Network
  Robustness to Common Corruptions and Perturbations" (ICLR 2019), severities 1 to 3 with the values published for
  ImageNet-C, on the pictures at the size of their files. Severity 1 is what a photo shared on the web may have been
  through: contrast 1 keeps four tenths of it, defocus 1 is a disc of radius 3 pixels, JPEG 1 is quality 25. Grey
  pictures stay grey. (The package `imagecorruptions` needs an older setuptools; the values are the same.)
- *Shifted* by a share of the side in one of four directions, *turned* either way; what comes into view is mirrored.
- **ELPV** (`elpv-dataset`), monocrystalline cells, random split. **Magnetic tile**: Huang, Qiu, Guo, Wang, Yuan,
  "Saliency of magnetic tile surface defects".
"""


@dataclass(frozen=True)
class Outcome:
    """What becomes of n changed test images, as shares in [0, 1]."""

    good_ok: float
    good_error: float
    defects_stopped: float
    auroc: float


def fitted(work: Work, settings: Mapping[str, Any]) -> tuple[Patchcore, Calibration]:
    """The model and the calibration that the command line makes of a work's training images."""
    options = TrainOptions(
        backbone=work.backbone,
        layers=work.layers,
        coreset_sampling_ratio=work.ratio,
        num_neighbors=9,
        image_size=(work.size, work.size),
        weights=None if work.weights is None else str(work.weights),
        seed=0,
        device="cpu",
        score=ScoreRule.MAP_MAX,
    )
    with TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train_run(work.data, run, replace(options, **settings))
        calibrate_run(run, work.data, None, "cpu")
        calibration = load_calibration(run)
        assert calibration is not None
        return load_run(run)[0], calibration


def outcome(model: Patchcore, calibration: Calibration, items: Sequence[ImageItem], change: Change) -> Outcome:
    """Judge test images, each after a change, as the line would."""
    scores, refused = _judged(model, calibration, items, change)
    labels = np.array([item.is_defective for item in items])
    verdicts = [calibration.thresholds.judge(float(score)) for score in scores]
    passed = np.array([verdict is Verdict.OK for verdict in verdicts]) & ~refused
    return Outcome(
        good_ok=float(passed[~labels].mean()),
        good_error=float(refused[~labels].mean()),
        defects_stopped=float((~passed)[labels].mean()),
        auroc=float(roc_auc_score(labels, scores)),
    )


def _judged(
    model: Patchcore, calibration: Calibration, items: Sequence[ImageItem], change: Change
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores ``[n]``, and which frames the runtime's check refuses."""
    scores, refused = [], []
    for start in range(0, len(items), BATCH):
        images = []
        for place, item in enumerate(items[start : start + BATCH], start):
            # The same draw for an image under every change.
            frame = change(read_image(item.path), np.random.default_rng(place))
            images.append(preprocess(frame, model.pre_processor.spec))
            refused.append(bool(check_frame(images[-1], frame, calibration.sanity)))
        scores.append(model(torch.from_numpy(np.stack(images))).pred_score.numpy())
    return np.concatenate(scores), np.array(refused)


def tested(data: DataModule) -> list[ImageItem]:
    """Up to ``IMAGES`` good and as many defective test images, evenly chosen."""
    chosen = []
    for is_defective in (False, True):
        chosen += evenly_chosen([item for item in data.test if item.is_defective is is_defective], IMAGES)
    return chosen


def section(work: Work, recipe: str, settings: Mapping[str, Any]) -> str:
    """A work's table for one recipe."""
    model, calibration = fitted(work, settings)
    items = tested(work.data)
    defective = sum(item.is_defective for item in items)
    rows = []
    for name, change in conditions():
        found = outcome(model, calibration, items, change)
        shares = (found.good_ok, found.good_error, found.defects_stopped)
        rows.append(f"| {name} | {' | '.join(f'{share:.1%}' for share in shares)} | {found.auroc:.4f} |")
        print(work.name, recipe, rows[-1], flush=True)
    facts = f"{work.backbone}, {work.size} px, score {model.model.score}; "
    counts = f"{len(items) - defective} good and {defective} defective images tested."
    return "\n".join([f"\n## {work.name}, {recipe}\n\n{facts}{counts}\n", _COLUMNS, *rows, ""])


def works(shared: Path | None) -> list[Work]:
    """Monocrystalline cells, and with the shared images magnetic tiles."""
    return [work for work in all_works(shared) if work.ratio == 0.01 and not work.name.endswith("poly")]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="folder with data/magnetic_tile and weights/")
    parser.add_argument("--only", help="part of the name of the works to measure; writes no page")
    options = parser.parse_args()
    chosen = [work for work in works(options.shared) if options.only is None or options.only in work.name]
    parts = []
    # The default of all first: a fit with copies takes several times as long.
    for name, settings in RECIPES.items():
        for work in chosen:
            parts.append(section(work, name, settings))
            if options.only is None and options.shared is not None:
                write_page("robustness.md", [HEAD, *parts, FOOT])


if __name__ == "__main__":
    main()
