"""What the files of a RUN folder say: of the fit, of its calibration, and of what counts in a frame."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from patchcore_edge_runtime.bundle.manifest import CalibrationFacts
from patchcore_edge_runtime.bundle.recipe import AugmentOptions, PcaOptions, ScoreRule
from patchcore_edge_runtime.images.frame_check import FrameLimits
from patchcore_edge_runtime.images.geometry import Masks, Roi
from patchcore_edge_runtime.images.preprocess import PreprocessSpec
from patchcore_edge_runtime.verdict import Thresholds

__all__ = ["Calibration", "RunFacts", "ViewFacts"]


class RunFacts(BaseModel):
    """What was fitted.

    Attributes:
        train_data: the data as they were named.
        train_place: where they lie, from the root; empty in runs of earlier versions.
        train_sha256: digests of the training files; none of them may calibrate.
        mean, std: of the pre-processor; the backbone's own when absent.
        held_out_sha256: digests of the files beside the training files that were kept out of the fit, to calibrate.
        left_out_sha256: digests of files that are neither: they show a part that is among the training images.
        suspect_sha256: digests of the training files that look unlike the others (``outliers.html``).
        group_by: pattern that finds an image's batch in its path; subfolders are batches without.
        good: names of the folders of good parts, where somebody said them.
        recursive: whether subfolders were looked into.
        patches: how many the images and their augmented copies gave.
        bank_size: how many of them the memory bank keeps.
        score: how an image's score comes from its patches.
        pca: what the feature space keeps; the features as they are when absent.
        patch_stride: pixels from patch to patch; as the first layer has them when absent.
        patch_size: side of the square of a layer's cells that are averaged into one.
        centering: share of an image's mean features that is taken off its patches.
        augment: what the bank's further pictures of each image vary; none when absent.
        ignore_masks: polygons in fractions of the frame that the bank has not seen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    name: str
    backbone: str
    layers: tuple[str, ...]
    num_neighbors: PositiveInt
    coreset_sampling_ratio: float
    seed: int
    preprocess: PreprocessSpec
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    train_data: str
    train_place: str = ""
    train_sha256: tuple[str, ...]
    held_out_sha256: tuple[str, ...] = ()
    left_out_sha256: tuple[str, ...] = ()
    suspect_sha256: tuple[str, ...] = ()
    group_by: str | None = None
    good: tuple[str, ...] = ()
    recursive: bool = True
    patches: PositiveInt
    bank_size: PositiveInt
    score: ScoreRule = ScoreRule.REFERENCE
    pca: PcaOptions | None = None
    patch_stride: PositiveInt | None = None
    patch_size: PositiveInt = 3
    centering: float = Field(default=0.0, ge=0, le=1)
    augment: AugmentOptions | None = None
    ignore_masks: Masks = ()
    tools: dict[str, str]


class ViewFacts(BaseModel):
    """What counts in a frame.

    Attributes:
        roi, frame_size: see ``PreprocessSpec``.
        ignore_masks: polygons in fractions of the frame within which nothing counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    roi: Roi | None = None
    frame_size: tuple[PositiveInt, PositiveInt] | None = None
    ignore_masks: Masks = ()


class Calibration(BaseModel):
    """Thresholds and how they were found, and what shows a graph to be right.

    Attributes:
        images: kept good images: file name → raw score of float32 torch by a bank that has not seen the image.
        sanity: what a frame has to be like to be scored.
        unseen_bank: that bank is not the run's, which has seen them, but one of the same size that was fitted without
            them; see ``unseen_model``.
        view: what of a frame it is for; the run's own when absent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    thresholds: Thresholds
    facts: CalibrationFacts
    images: dict[str, float]
    sanity: FrameLimits | None = None
    unseen_bank: bool = False
    view: ViewFacts | None = None
