"""The work whose accuracy is reported: images, split, backbone, size, ratio. Everything is fixed, seeds included."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path

from patchcore_edge.data import DataModule, ImageItem, MVTec, open_data
from patchcore_edge.jobs.train import TrainOptions
from patchcore_edge.models import Patchcore
from patchcore_edge.models.weights import DEFAULT_BACKBONE, DEFAULT_LAYERS
from samples.demo.cells import TRAIN_IMAGES, cell_files, cells_by_module

ELPV = "elpv:"


@dataclass(frozen=True)
class Work:
    """What to fit and to test.

    Attributes:
        weights: the backbone's file; None for the package's.
    """

    name: str
    data: DataModule
    backbone: str = DEFAULT_BACKBONE
    layers: tuple[str, ...] = DEFAULT_LAYERS
    size: int = 224
    ratio: float = 0.01
    weights: Path | None = None

    @property
    def stem(self) -> str:
        """The name as files and folders bear it."""
        return self.name.replace(", ", "_").replace(" ", "_")

    def model(self, *, prepared: bool = False) -> Patchcore:
        """The model of this work, not fitted; with ``prepared`` it takes normalised images."""
        return Patchcore(
            self.backbone,
            self.layers,
            coreset_sampling_ratio=self.ratio,
            pre_processor=not prepared and Patchcore.configure_pre_processor((self.size, self.size)),
            post_processor=False,
            weights=self.weights,
        )

    def train_options(self) -> TrainOptions:
        """The same for a run in a folder, on the CPU with seed 0."""
        weights = None if self.weights is None else str(self.weights)
        return TrainOptions(self.backbone, self.layers, self.ratio, 9, (self.size, self.size), weights, 0, "cpu")


def elpv(kind: str, seed: int = 0) -> DataModule:
    """Solar cells: 300 good ones to fit on, all other good and all surely defective ones to test.

    The good ones are shuffled (``random.Random(seed)``); the defective ones keep the order of the package's list.
    """
    good, defective = cell_files(kind)
    random.Random(seed).shuffle(good)
    test = [*map(ImageItem, good[TRAIN_IMAGES:]), *(ImageItem(path, "defective") for path in defective)]
    return DataModule(Path(f"ELPV {kind}"), [ImageItem(path) for path in good[:TRAIN_IMAGES]], test=test)


def elpv_by_module(kind: str) -> DataModule:
    """Solar cells: the first 300 good ones of the package's list to fit on, those of later modules to test."""
    train, good, defective = cells_by_module(kind)
    test = [*map(ImageItem, good), *(ImageItem(path, "defective") for path in defective)]
    return DataModule(Path(f"ELPV {kind}, by module"), [ImageItem(path) for path in train], test=test)


def data_of(name: str) -> DataModule:
    """``elpv:mono``, ``elpv:poly``, or a folder in the MVTec layout."""
    return elpv(name.removeprefix(ELPV)) if name.startswith(ELPV) else open_data(name)


def all_works(shared: Path | None, seed: int = 0) -> list[Work]:
    """Solar cells, split by ``seed``, and with the shared images and weights magnetic tiles as well."""
    works = [Work(f"ELPV {kind}", elpv(kind, seed)) for kind in ("mono", "poly")]
    if shared is not None:
        tile = Work(
            "magnetic tile",
            MVTec(shared / "data", "magnetic_tile"),
            "resnet18",
            ("layer2", "layer3"),
            256,
            weights=shared / "weights" / "resnet18_tv_in1k_to_layer3.safetensors",
        )
        works += [tile, replace(tile, ratio=0.1)]
    return works


def works_by_module() -> list[Work]:
    """The solar cells again, fitted on the package's first modules and tested on later ones."""
    return [Work(f"ELPV {kind}, by module", elpv_by_module(kind)) for kind in ("mono", "poly")]
