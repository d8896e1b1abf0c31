"""A RUN folder: what a fit leaves for calibration, evaluation and export; safetensors and JSON, never pickle.

run.json                 what was fitted, on what (``RunFacts``)
model.safetensors        the backbone's used part and the memory bank
train_samples/*.png      some of the training images at the model's size; INT8 export takes its ranges from them
calibration/             after ``calibrate``:
    calibration.json     thresholds and how they were found (``Calibration``)
    *.png                model-size good images that span the calibration scores
    unseen_bank.safetensors   a memory bank that has not seen them, where the run's own has
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from patchcore_edge_runtime.atomic_folder import atomic_folder
from patchcore_edge_runtime.errors import CheckpointError
from patchcore_edge_runtime.images.files import read_image, write_image
from patchcore_edge_runtime.images.preprocess import Image, as_bgr8
from patchcore_edge_runtime.validation import first_fault

from ..models import Patchcore
from ..models.pre_processor import PreProcessor
from .facts import Calibration, RunFacts

__all__ = [
    "RUN_FILE",
    "calibration_images",
    "load_calibrated",
    "load_calibration",
    "load_run",
    "save_calibration",
    "save_run",
    "train_samples",
    "unseen_model",
]

RUN_FILE = "run.json"
MODEL_FILE = "model.safetensors"
CALIBRATION_FILE = "calibration.json"
CALIBRATION_FOLDER = "calibration"
UNSEEN_BANK_FILE = "unseen_bank.safetensors"
SAMPLES_FOLDER = "train_samples"

_Document = TypeVar("_Document", bound=BaseModel)


def save_run(folder: Path, model: Patchcore, facts: RunFacts, samples: Iterable[Image] = ()) -> None:
    """Write a RUN folder, whole or not at all; ``samples`` are training images of the model's size."""
    with atomic_folder(folder, RUN_FILE) as fresh:
        # Written while the next ones are decoded.
        with ThreadPoolExecutor() as threads:
            written = [
                threads.submit(write_image, fresh / SAMPLES_FOLDER / f"{place:03d}.png", image)
                for place, image in enumerate(samples)
            ]
        for future in written:
            future.result()
        tensors = {name: tensor.contiguous().cpu() for name, tensor in model.model.state_dict().items()}
        save_file(tensors, fresh / MODEL_FILE)
        _write(fresh / RUN_FILE, facts)
        # safetensors writes for its owner's eyes only; who may read a run is the folder's affair.
        shutil.copymode(fresh / RUN_FILE, fresh / MODEL_FILE)


def load_run(folder: Path) -> tuple[Patchcore, RunFacts]:
    """The fitted model, on the CPU and in evaluation mode.

    Raises:
        CheckpointError: the folder is no checkpoint, or a damaged one.
    """
    facts = _read(folder / RUN_FILE, RunFacts)
    if facts is None:
        raise CheckpointError(f"{folder} is no checkpoint (it has no {RUN_FILE}); give a folder that `train` wrote.")
    model = Patchcore(
        facts.backbone,
        facts.layers,
        pre_trained=False,
        coreset_sampling_ratio=facts.coreset_sampling_ratio,
        num_neighbors=facts.num_neighbors,
        pre_processor=PreProcessor(facts.preprocess, facts.mean, facts.std),
        seed=facts.seed,
        score=facts.score,
        pca=facts.pca,
        patch_stride=facts.patch_stride,
        patch_size=facts.patch_size,
        centering=facts.centering,
        augment=facts.augment,
        ignore_masks=facts.ignore_masks,
    )
    if model.model.layers != facts.layers:
        # Of an earlier version, whose banks held the features in the order in which the layers were named.
        raise CheckpointError(
            f"{folder} was fitted with layers in an order that counts no more ({', '.join(facts.layers)}); train anew."
        )
    try:
        model.model.load_state_dict(load_file(folder / MODEL_FILE))
    except (OSError, SafetensorError, RuntimeError):
        raise CheckpointError(f"{folder / MODEL_FILE} is missing or damaged; copy it again or train anew.") from None
    if not torch.isfinite(model.model.memory_bank).all():
        raise CheckpointError(f"{folder / MODEL_FILE} holds numbers that are not finite; train anew.")
    return model.eval(), facts


def load_calibrated(folder: Path) -> tuple[Patchcore, RunFacts, Calibration | None]:
    """As ``load_run``, looking at what of a frame it was calibrated for; the calibration too, None before there is one.

    Raises:
        CheckpointError: as ``load_run``.
    """
    model, facts = load_run(folder)
    calibration = load_calibration(folder)
    if calibration is not None and calibration.view is not None:
        view = calibration.view
        model.look_at(model.pre_processor.spec.looking_at(view.roi, view.frame_size), view.ignore_masks)
    return model, facts, calibration


def train_samples(folder: Path) -> list[Image]:
    """The kept training images of a RUN folder: HxWx3 uint8 BGR of the model's size; none where none were kept."""
    return [as_bgr8(read_image(path)) for path in sorted((folder / SAMPLES_FOLDER).glob("*.png"))]


def save_calibration(
    folder: Path, calibration: Calibration, images: Iterable[tuple[str, Image]], unseen_bank: Tensor | None = None
) -> None:
    """Write a run's calibration with its kept images, in place of an earlier one.

    Args:
        folder: RUN.
        calibration: what was found.
        images: file names and the kept images.
        unseen_bank: ``[M, D]`` float32, fitted without the kept images; needed where ``calibration`` says so.
    """
    with atomic_folder(folder / CALIBRATION_FOLDER, CALIBRATION_FILE) as fresh:
        for name, image in images:
            write_image(fresh / name, image)
        if unseen_bank is not None:
            save_file({"memory_bank": unseen_bank.contiguous().cpu()}, fresh / UNSEEN_BANK_FILE)
        _write(fresh / CALIBRATION_FILE, calibration)
        if unseen_bank is not None:
            shutil.copymode(fresh / CALIBRATION_FILE, fresh / UNSEEN_BANK_FILE)


def unseen_model(folder: Path, fitted: Patchcore, calibration: Calibration) -> Patchcore:
    """The model to judge a graph with on the kept images: one whose bank has not seen them.

    The run's own where good images were held out. After a cross-fitted calibration a copy of it with another bank of
    the same size: a distance to a bank that holds the patch itself is rounding and nothing else.

    Raises:
        CheckpointError: the bank is missing or damaged.
    """
    if not calibration.unseen_bank:
        return fitted
    file = folder / CALIBRATION_FOLDER / UNSEEN_BANK_FILE
    try:
        bank = load_file(file)["memory_bank"]
    except (OSError, SafetensorError, KeyError):
        raise CheckpointError(f"{file} is missing or damaged; run `patchcore-edge calibrate` again.") from None
    if bank.dim() != 2 or bank.shape[1] != fitted.model.memory_bank.shape[1] or not torch.isfinite(bank).all():
        raise CheckpointError(f"{file} is not a bank of this run; run `patchcore-edge calibrate` again.")
    model = copy.deepcopy(fitted)
    model.model.memory_bank = bank
    return model


def load_calibration(folder: Path) -> Calibration | None:
    """The calibration of a RUN folder; None before ``calibrate``."""
    return _read(folder / CALIBRATION_FOLDER / CALIBRATION_FILE, Calibration)


def calibration_images(folder: Path, calibration: Calibration) -> dict[str, Image]:
    """The kept images by file name: HxWx3 uint8 BGR of the model's size, from least to most anomalous."""
    return {name: as_bgr8(read_image(folder / CALIBRATION_FOLDER / name)) for name in calibration.images}


def _write(path: Path, document: BaseModel) -> None:
    path.write_text(json.dumps(document.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")


def _read(path: Path, kind: type[_Document]) -> _Document | None:
    if not path.is_file():
        return None
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{path} is damaged ({first_fault(error)}); copy it again or train anew.") from None
