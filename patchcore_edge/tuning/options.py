"""What ``tune`` can be told, and from a recipe to what ``train`` is told."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from patchcore_edge_runtime.errors import ConfigError

from ..data.lists import data_text
from ..jobs.sight import SightOptions
from ..jobs.train import TrainOptions
from ..models.weights import DEFAULT_BACKBONE, DEFAULT_LAYERS
from .choice import Limits
from .recipe import Recipe

__all__ = ["TuneOptions", "base_options", "train_command", "train_options"]

_LEAST_SIDE = 32
"""Pixels: four patches of 8, the fewest that ``train`` takes."""


@dataclass(frozen=True)
class TuneOptions:
    """What ``tune`` can be told.

    Attributes:
        train: what every fit has in common: weights, seed, device, how batches are named, outliers; and the default
            recipe.
        backbones: timm names; the first is the default's.
        sides: sides in pixels of the sizes to try, each for a square; the photos' shape is kept.
        limits: what a frame and a graph may cost.
        time_limit: seconds after which the search ends with what it has; None for none.
        precision: of the graphs that are timed against the limits.
        device: OpenVINO's name of the device that they are timed on.
        group_by: pattern that finds an image's batch in its path.
        target_fpr: see ``calibrate``.

    Raises:
        ConfigError: a number is out of its range, or no backbone is named.
    """

    train: TrainOptions
    backbones: tuple[str, ...]
    sides: tuple[int, ...] = ()
    limits: Limits = field(default_factory=Limits)
    time_limit: float | None = None
    precision: str = "fp32"
    device: str = "CPU"
    target_fpr: float | None = None

    def __post_init__(self) -> None:
        # Sets: what is named twice counts once, and the first is still the default's.
        object.__setattr__(self, "backbones", tuple(dict.fromkeys(self.backbones)))
        object.__setattr__(self, "sides", tuple(dict.fromkeys(self.sides)))
        object.__setattr__(self, "device", self.device.upper())
        for name, value in (("--budget-ms", self.limits.milliseconds), ("--budget-mb", self.limits.megabytes)):
            if value is not None and value <= 0:
                raise ConfigError(f"{name} is {value:g}; give a number above 0.")
        # None is enough for the default alone.
        if self.time_limit is not None and self.time_limit < 0:
            raise ConfigError(f"--time-limit is {self.time_limit / 60:g}; give minutes, 0 or more.")
        if small := [side for side in self.sides if side < _LEAST_SIDE]:
            raise ConfigError(f"--sizes has {small[0]}; give sides of {_LEAST_SIDE} pixels or more.")
        if not self.backbones:
            raise ConfigError("No backbone was named; give at least one, such as --backbones tf_efficientnet_lite0.")
        if self.train.weights is not None and len(self.backbones) > 1:
            raise ConfigError("One file of weights fits one backbone; leave --weights out or give one of --backbones.")


def base_options(
    *,
    weights: str | None,
    seed: int,
    device: str,
    strict: bool,
    group_by: str | None,
    outliers: Literal["keep", "drop"] | int,
    good: tuple[str, ...] = (),
    recursive: bool = True,
    sight: SightOptions | None = None,
) -> TrainOptions:
    """What a recipe is put into: all that ``train`` can be told besides."""
    return TrainOptions(
        backbone=DEFAULT_BACKBONE,
        layers=DEFAULT_LAYERS,
        coreset_sampling_ratio=None,
        num_neighbors=9,
        image_size=None,
        weights=weights,
        seed=seed,
        device=device,
        strict=strict,
        group_by=group_by,
        good=good,
        recursive=recursive,
        outliers=outliers,
        sight=sight or SightOptions(),
    )


def train_options(base: TrainOptions, recipe: Recipe) -> TrainOptions:
    """The options of a fit by a recipe."""
    layout = recipe.layout
    return replace(
        base,
        backbone=layout.view.backbone,
        layers=layout.layers,
        image_size=layout.view.image_size,
        patch_stride=layout.view.patch_stride,
        pca=layout.pca,
        centering=layout.centering,
        score=recipe.score,
        coreset_size=recipe.bank_size,
        coreset_sampling_ratio=None,
        bank_mb=None,
    )


def train_command(base: TrainOptions, recipe: Recipe, data: Path) -> str:
    """The command line of a fit by a recipe."""
    layout = recipe.layout
    height, width = layout.view.image_size
    words = [
        *("patchcore-edge", "train", data_text(data), "-o", "RUN"),
        *("--backbone", layout.view.backbone, "--layers", ",".join(layout.layers)),
        *("--image-size", f"{height}x{width}", "--patch-stride", str(layout.view.patch_stride)),
        *("--coreset-size", str(recipe.bank_size), "--score", str(recipe.score)),
    ]
    if layout.pca is not None:
        words += ["--pca", f"{layout.pca.dimensions:g}", "--whitening", f"{layout.pca.whitening:g}"]
    if layout.centering:
        words += ["--centering", f"{layout.centering:g}"]
    for name, value in _said(base).items():
        words += [name, str(value)]
    for polygon in base.sight.ignore_masks:
        words += ["--ignore-mask", " ".join(f"{x:g},{y:g}" for x, y in polygon)]
    for name in base.good:
        words += ["--good", name]
    words += [] if base.recursive else ["--no-recursive"]
    return shlex.join(words)


def _said(base: TrainOptions) -> dict[str, object]:
    """Options that were given, with their values."""
    roi = base.sight.roi
    given = {
        "--weights": base.weights,
        "--bit-depth": base.sight.bit_depth,
        "--roi": None if roi is None else ",".join(map(str, roi)),
        "--outliers": None if base.outliers == "keep" else base.outliers,
        "--group-by": base.group_by,
        "--seed": base.seed or None,
    }
    return {name: value for name, value in given.items() if value is not None}
