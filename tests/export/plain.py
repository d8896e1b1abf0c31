"""Runs of a plain folder of good images, whose calibration images are in the bank."""

from __future__ import annotations

import shutil
from pathlib import Path

from patchcore_edge.jobs.calibrate import calibrate_run
from patchcore_edge.jobs.train import TrainOptions, train_run


def plain_run(files: list[Path], folder: Path, options: TrainOptions, target_fpr: float = 0.1) -> Path:
    """A run fitted and calibrated on a folder with copies of these images."""
    data, run = folder / "good", folder / "run"
    data.mkdir(parents=True)
    for place, file in enumerate(files):
        shutil.copy(file, data / f"{place:03d}{file.suffix}")
    train_run(data, run, options)
    calibrate_run(run, data, target_fpr, "cpu")
    return run
