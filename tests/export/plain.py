"""Runs of a plain folder of good images, whose calibration images are in the bank."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import torch

from patchcore_edge.checkpoint import load_calibration, load_run, save_calibration
from patchcore_edge.crossfit import folds
from patchcore_edge.data import DataModule, open_data
from patchcore_edge.engine import Engine
from patchcore_edge.models import KCenterGreedy
from patchcore_edge.workflow import TrainOptions, calibrate_run, train_run


def plain_run(files: list[Path], folder: Path, options: TrainOptions, target_fpr: float = 0.1) -> Path:
    """A run fitted and calibrated on a folder with copies of these images."""
    data, run = folder / "good", folder / "run"
    data.mkdir(parents=True)
    for place, file in enumerate(files):
        shutil.copy(file, data / f"{place:03d}{file.suffix}")
    train_run(data, run, options)
    calibrate_run(run, data, target_fpr, "cpu")
    found = load_calibration(run)
    assert found is not None
    if not found.unseen_bank:
        _hold_a_fold_out(run, data)
    return run


def _hold_a_fold_out(run: Path, data: Path) -> None:
    """Keep the images of one fold, and a bank of the other images."""
    model, facts = load_run(run)
    found, module = load_calibration(run), open_data(data)
    assert found is not None
    size = model.pre_processor.spec.input_size
    with Engine("cpu", progress=False).features(model, module) as store:
        pool, count = store.pool()[:], len(store.images)
    fold = folds(count, facts.seed)[0]
    rows = np.setdiff1d(np.arange(count), fold)[:, None] * (len(pool) // count) + np.arange(len(pool) // count)
    bank = KCenterGreedy(pool[rows.ravel()], 1.0, facts.seed, size=len(model.model.memory_bank)).sample_coreset()
    unseen = copy.deepcopy(model)
    unseen.model.memory_bank = bank.clone()
    dataset = DataModule.dataset(module.train, model.pre_processor.spec)
    images = {index: dataset.image(int(index)) for index in fold}
    assert images[fold[0]].shape[:2] == size
    scores = {i: float(unseen(torch.from_numpy(image)[None]).pred_score[0]) for i, image in images.items()}
    kept = {f"{place:03d}.png": index for place, index in enumerate(sorted(scores, key=lambda i: scores[i]))}
    calibration = found.model_copy(
        update={"images": {name: scores[index] for name, index in kept.items()}, "unseen_bank": True}
    )
    save_calibration(run, calibration, ((name, images[index]) for name, index in kept.items()), bank)
