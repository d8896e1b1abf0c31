"""What an export is asked for, and what it is given beside the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.images.preprocess import Image

from .samples import Sample

__all__ = ["CalibrationInputs", "GraphOptions"]


@dataclass(frozen=True)
class GraphOptions:
    """What ``export`` was asked for.

    Attributes:
        onnx: keep the ONNX file.
        force: keep what the gate refuses.
        compress_weights: store weights in 8 bits a number.
        lower: have the gate look at half precisions too, those that this machine's CPU is made for.
    """

    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    search: Literal["exact", "fast", "auto"] = "exact"
    batch: int = 1
    onnx: bool = False
    force: bool = False
    compress_weights: bool = False
    lower: bool = True

    @property
    def gate(self) -> str:
        """The precision whose limits hold: weights in 8 bits are judged as INT8 is."""
        return "int8" if self.compress_weights else self.precision


@dataclass(frozen=True)
class CalibrationInputs:
    """What INT8 takes its ranges and thresholds from, and what the gate is shown besides the calibration images.

    Attributes:
        train: good training images, HxWx3 uint8 BGR of the model's size.
        recorded: the calibration images' scores when the run was calibrated.
        labelled: images from ``--data``.
        unseen: the fitted model with a bank that has not seen the calibration images, where its own has.
    """

    train: Sequence[Image] = ()
    recorded: Sequence[float] = ()
    labelled: Sequence[Sample] = ()
    unseen: Patchcore | None = None
