"""The manifest of a bundle: what the model is, how its scores are read, and how it was shown to be right.

``manifest.json`` is this schema as JSON (UTF-8). Its ``digest`` is the sha256 of the manifest without that key,
written as JSON with sorted keys and no white space, so that an edit by hand is noticed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, field_validator

from .preprocess import PreprocessSpec
from .verdict import Thresholds

__all__ = [
    "SCHEMA_VERSION",
    "CalibrationFacts",
    "FileFacts",
    "GoldenImage",
    "Manifest",
    "ModelFacts",
    "OnnxParity",
    "ParityFacts",
    "ScoreStats",
    "SearchFacts",
    "manifest_digest",
]

SCHEMA_VERSION = 1


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ModelFacts(_Facts):
    """What was fitted: the backbone and its layers, and the memory bank's ``bank_size`` x ``embedding_dim``."""

    backbone: str
    layers: tuple[str, ...]
    num_neighbors: PositiveInt
    bank_size: PositiveInt
    embedding_dim: PositiveInt
    coreset_sampling_ratio: float
    train_images: PositiveInt


class ScoreStats(_Facts):
    """Raw image scores of the good images that the thresholds come from."""

    min: float
    median: float
    max: float


class CalibrationFacts(_Facts):
    """How the thresholds were found (DESIGN section 3: thresholds without defects).

    Attributes:
        method: ``held-out`` good images; ``cross-fitted``, training images scored by banks that had not seen them;
            or ``f1``, the highest F1 on images with labelled defects.
        defects: labelled defective images that were used.
        f1: of the image threshold on them; None without defects.
        n: good images scored that the memory bank had not seen.
        target_fpr: the false-reject rate that was asked for.
        rank: the threshold is the ``rank``-th smallest of the ``n`` scores.
        supported_fpr: expected false-reject rate of that threshold, (n + 1 - rank) / (n + 1).
        fpr_upper_bound: with 95 % confidence the false-reject rate stays below this.
        supports_target: whether ``n`` is enough for ``target_fpr``.
        scores: statistics of the ``n`` raw image scores.
    """

    data: str
    method: Literal["held-out", "cross-fitted", "f1"] = "held-out"
    defects: NonNegativeInt = 0
    f1: float | None = None
    n: PositiveInt
    target_fpr: float
    rank: PositiveInt
    supported_fpr: float
    fpr_upper_bound: float
    supports_target: bool
    scores: ScoreStats


class OnnxParity(_Facts):
    """torch float32 against the ONNX file in ONNX Runtime, before it became IR."""

    max_score_deviation: float
    max_map_deviation: float


class ParityFacts(_Facts):
    """torch float32 against the compiled model on the same images.

    Attributes:
        images: how many; of them ``synthetic`` carry a defect that the export made.
        max_score_deviation: of an image's score, relative to torch's.
        max_map_deviation: of a map, relative to the larger of torch's maximum and the pixel threshold.
        verdict_flips: images that the thresholds judge otherwise.
        rank_correlation: Spearman's, of the scores; absent where all are equal.
        auroc_torch, auroc_graph: image AUROC where the images are labelled.
        onnx: the same for the ONNX file; absent when it was not at hand.
        failures: what did not pass, a phrase each; a bundle that has any was forced.
    """

    device: str
    images: PositiveInt
    synthetic: NonNegativeInt = 0
    max_score_deviation: float
    max_map_deviation: float
    verdict_flips: NonNegativeInt
    rank_correlation: float | None = None
    auroc_torch: float | None = None
    auroc_graph: float | None = None
    score_limit: float
    map_limit: float = 1.0
    onnx: OnnxParity | None = None
    failures: tuple[str, ...] = ()
    passed: bool


class SearchFacts(_Facts):
    """How the graph searches the memory bank.

    Attributes:
        reason: why ``exact`` or ``fast``, in one sentence.
        dimensions: of the coarse space; absent for exact search.
        refined_patches: how many patches of an image have exact distances; absent when all have.
        residual_correlation: of near neighbours, outside the coarse space.
    """

    reason: str
    dimensions: PositiveInt | None = None
    refined_patches: PositiveInt | None = None
    residual_correlation: float | None = None


class GoldenImage(_Facts):
    """A model-size PNG and the raw score that float32 torch gives it; ``tolerance`` is relative."""

    file: str
    pred_score: float
    tolerance: float


class FileFacts(_Facts):
    """Size in bytes and lower-case hex sha256 of a file of the bundle."""

    bytes: NonNegativeInt
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(_Facts):
    """Everything that someone who runs the model has to know; thresholds are here and not in the graph.

    Attributes:
        input_layout: the graph takes uint8 pixels ``[batch, height, width, 3]`` in BGR order.
        batch: static batch size of the graph.
        files: path inside the bundle, with forward slashes → its size and sha256.
        tools: name → version of what made the bundle.
    """

    schema_version: Literal[1] = 1
    name: str
    created: str
    input_layout: Literal["NHWC uint8 BGR"] = "NHWC uint8 BGR"
    batch: PositiveInt = 1
    preprocess: PreprocessSpec
    model: ModelFacts
    precision: Literal["fp32", "fp16"]
    search: Literal["exact", "fast"]
    search_facts: SearchFacts = SearchFacts(reason="as asked")
    thresholds: Thresholds
    calibration: CalibrationFacts
    parity: ParityFacts
    golden: tuple[GoldenImage, ...] = Field(min_length=1)
    files: dict[str, FileFacts]
    tools: dict[str, str]

    @field_validator("files")
    @classmethod
    def _inside_the_bundle(cls, files: dict[str, FileFacts]) -> dict[str, FileFacts]:
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or str(path) != name:
                raise ValueError(f"{name!r} is not a path inside the bundle")
        return files

    @property
    def model_id(self) -> str:
        """Name of the model with the first 12 digits of its weights' sha256: what a result is traced back to."""
        return f"{self.name}@{self.files['model.bin'].sha256[:12]}"


def manifest_digest(document: dict[str, Any]) -> str:
    """sha256 of a manifest's JSON document, its own ``digest`` left out."""
    body = {key: value for key, value in document.items() if key != "digest"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
