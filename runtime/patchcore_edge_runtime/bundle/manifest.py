"""The manifest of a bundle: what the model is, how its scores are read, and how it was shown to be right.

``manifest.json`` is this schema as JSON (UTF-8). Its ``digest`` is the sha256 of the manifest without that key,
written as JSON with sorted keys and no white space, so that an edit by hand is noticed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from ..images.frame_check import FrameLimits
from ..images.geometry import Masks
from ..images.preprocess import PreprocessSpec
from ..verdict import Thresholds
from .calibration_facts import CalibrationFacts, ScoreStats, TradeOffPoint
from .facts import NO_CONTROL, Facts, Finite, Name, NonNegative, Share, Text
from .lower_precision import InferencePrecision, LowerName, LowerPrecision, LowerTolerance
from .parity_report import OnnxParity, ParityReport, SeenParity
from .recipe import AugmentOptions, PcaOptions, ScoreRule

__all__ = [
    "SCHEMA_VERSION",
    "CalibrationFacts",
    "Edit",
    "FileFacts",
    "GoldenImage",
    "GoldenMap",
    "Labels",
    "LowerPrecision",
    "Manifest",
    "ModelFacts",
    "OnnxParity",
    "ParityReport",
    "QuantizationFacts",
    "ScoreStats",
    "SearchFacts",
    "SeenParity",
    "TradeOffPoint",
    "manifest_digest",
    "manifest_schema",
    "read_manifest",
    "upgrade",
]

SCHEMA_VERSION = 5
Label = Annotated[str, Field(min_length=1, max_length=40, pattern=NO_CONTROL)]


class ModelFacts(Facts):
    """What was fitted, and how: the backbone and its layers, the memory bank, how distances become scores.

    Attributes:
        bank_size, embedding_dim: rows and columns of the memory bank.
        score: how an image's score comes from its patches.
        pca: what the feature space keeps; absent where distances are between the backbone's features.
        patch_stride: pixels of the model's input from patch to patch; as the first layer has them when absent.
        patch_size: side of the square of a layer's cells that are averaged into one.
        centering: share of a frame's mean features that the graph takes off its patches.
        augment: what the bank's further pictures of each image vary; absent where there are none.
        ignore_masks: parts of the frame that the bank has not seen and the graph does not score; no edit takes them
            back.
    """

    backbone: Text
    layers: Annotated[tuple[Text, ...], Field(min_length=1, max_length=100)]
    num_neighbors: PositiveInt
    bank_size: PositiveInt
    embedding_dim: PositiveInt
    coreset_sampling_ratio: Share
    train_images: PositiveInt
    score: ScoreRule = ScoreRule.REFERENCE
    pca: PcaOptions | None = None
    patch_stride: PositiveInt | None = None
    patch_size: PositiveInt = 3
    centering: Share = 0.0
    augment: AugmentOptions | None = None
    ignore_masks: Masks = ()


class SearchFacts(Facts):
    """How the graph searches the memory bank.

    Attributes:
        reason: why ``exact`` or ``fast``, in one sentence.
        dimensions: of the coarse space; absent for exact search.
        refined_patches: how many patches of an image have exact distances; absent when all have.
        residual_correlation: of near neighbours, outside the coarse space.
        shortlist: how many patches of an image are compared with more than groups of the bank; absent when all are.
        candidates: to how many bank vectors exact distances are taken; absent when to all.
    """

    reason: Text
    dimensions: PositiveInt | None = None
    refined_patches: PositiveInt | None = None
    residual_correlation: Finite | None = None
    shortlist: PositiveInt | None = None
    candidates: PositiveInt | None = None


class QuantizationFacts(Facts):
    """What INT8 or compressed weights did to the backbone.

    Attributes:
        layers: how many it has.
        float_layers: those that stayed as they were.
        images: good training images that activations' ranges and errors were measured on.
        feature_error: of the quantized backbone's features, relative to how much the features vary.
    """

    layers: PositiveInt
    float_layers: Annotated[tuple[Text, ...], Field(max_length=10_000)]
    images: PositiveInt
    feature_error: NonNegative


class GoldenMap(Facts):
    """The map that the graph has to give a golden image, coarsely: the mean of each cell of a grid.

    Attributes:
        cells: rows of cells, from the upper left corner; see ``golden_map.coarse``.
        tolerance: allowed deviation of a cell, relative to the largest of them.
    """

    cells: Annotated[
        tuple[Annotated[tuple[NonNegative, ...], Field(min_length=1, max_length=64)], ...],
        Field(min_length=1, max_length=64),
    ]
    tolerance: Annotated[float, Field(gt=0, le=0.5)]

    @model_validator(mode="after")
    def _check(self) -> GoldenMap:
        if len({len(row) for row in self.cells}) != 1:
            raise ValueError("the rows of a map are of one length")
        return self


class GoldenImage(Facts):
    """A model-size PNG, and the raw score and the map that the graph has to give it.

    Attributes:
        pred_score: expected raw score. That of float32 torch, or the graph's own on the exporting machine's CPU
            where the two differ on purpose: INT8, compressed weights, and bundles written in spite of the gate.
        tolerance: allowed deviation from ``pred_score``, relative.
        torch_score: the raw score of float32 torch; None in bundles of schema 1, where it is ``pred_score``.
        origin: a good image that the bank had not seen, a real defect, or a good image with a drawn one.
        anomaly_map: the graph's own, on the exporting machine's CPU; None in bundles from before it was kept.
        lower: tolerances in the place of those for float32, by precision; for all that the bundle was verified for.
    """

    file: Text
    pred_score: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    tolerance: Annotated[float, Field(gt=0, le=0.5)]
    torch_score: NonNegative | None = None
    origin: Literal["good", "defect", "synthetic"] = "good"
    anomaly_map: GoldenMap | None = None
    lower: dict[LowerName, LowerTolerance] = Field(default_factory=dict)


class FileFacts(Facts):
    """Size in bytes and lower-case hex sha256 of a file of the bundle."""

    bytes: NonNegativeInt
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Labels(Facts):
    """The words shown for a good and for an anomalous part."""

    good: Label = "Good"
    anomalous: Label = "Anomaly"


class Edit(Facts):
    """One value that was changed after the export: by whom, when (ISO 8601, UTC), from what to what."""

    when: Text
    by: Name
    field: Literal["thresholds.image", "thresholds.pixel", "thresholds.warn", "labels", "ignore_masks"]
    before: Finite | Labels | Masks | None
    after: Finite | Labels | Masks | None


class Manifest(Facts):
    """Everything that someone who runs the model has to know; thresholds are here and not in the graph.

    Attributes:
        input_layout: the graph takes uint8 pixels ``[batch, height, width, 3]`` in BGR order.
        batch: static batch size of the graph.
        precision: of the weights as they are stored.
        lower_precisions: what else than float32 the graph was computed in; it may be where the comparison passed.
        compressed_weights: weights are stored in 8 bits a number and computed with in float.
        quantization: present for INT8 and compressed weights.
        torch_thresholds: the run's, on torch's scores, where ``thresholds`` were found again on the graph's own.
        ignore_masks: further parts of the frame whose scores do not count, besides the model's own.
        history: edits after the export, oldest first.
        sanity: what a frame has to be like to be scored; absent in bundles whose images were not measured.
        files: path inside the bundle, with forward slashes → its size and sha256.
        tools: name → version of what made the bundle.
    """

    schema_version: Literal[5] = 5
    name: Name
    created: Text
    input_layout: Literal["NHWC uint8 BGR"] = "NHWC uint8 BGR"
    batch: Annotated[int, Field(ge=1, le=1024)] = 1
    preprocess: PreprocessSpec
    model: ModelFacts
    precision: Literal["fp32", "fp16", "int8"]
    compressed_weights: bool = False
    lower_precisions: Annotated[tuple[LowerPrecision, ...], Field(max_length=2)] = ()
    quantization: QuantizationFacts | None = None
    search: Literal["exact", "fast"]
    search_facts: SearchFacts = SearchFacts(reason="as asked")
    thresholds: Thresholds
    torch_thresholds: Thresholds | None = None
    labels: Labels = Labels()
    ignore_masks: Masks = ()
    calibration: CalibrationFacts
    sanity: FrameLimits | None = None
    parity: ParityReport
    golden: Annotated[tuple[GoldenImage, ...], Field(min_length=1, max_length=64)]
    history: Annotated[tuple[Edit, ...], Field(max_length=1000)] = ()
    files: Annotated[dict[Text, FileFacts], Field(max_length=1000)]
    tools: Annotated[dict[Text, Text], Field(max_length=100)]

    @field_validator("files")
    @classmethod
    def _inside_the_bundle(cls, files: dict[str, FileFacts]) -> dict[str, FileFacts]:
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or str(path) != name:
                raise ValueError(f"{name!r} is not a path inside the bundle")
        return files

    @model_validator(mode="after")
    def _golden_for_all(self) -> Manifest:
        names = [lower.name for lower in self.lower_precisions]
        if len(set(names)) != len(names):
            raise ValueError("a lower precision is named twice")
        for name in self.inference_precisions[:-1]:
            if any(name not in image.lower for image in self.golden):
                raise ValueError(f"a golden image has no tolerance for {name}")
        return self

    @property
    def inference_precisions(self) -> tuple[InferencePrecision, ...]:
        """What the graph may be computed in, the fastest first; float32 always, last."""
        return (*(lower.name for lower in self.lower_precisions if lower.parity.passed), "f32")

    @property
    def model_id(self) -> str:
        """Name of the model with the first 12 digits of its weights' sha256: what a result is traced back to."""
        return f"{self.name}@{self.files['model.bin'].sha256[:12]}"

    @property
    def graph_digest(self) -> str:
        """One digest of the graph's two files: what was compiled from them is kept under it."""
        return hashlib.sha256("".join(self.files[f"model.{end}"].sha256 for end in ("xml", "bin")).encode()).hexdigest()


def manifest_digest(document: dict[str, Any]) -> str:
    """sha256 of a manifest's JSON document, its own ``digest`` left out."""
    body = {key: value for key, value in document.items() if key != "digest"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(document: dict[str, Any]) -> Manifest:
    """A manifest's JSON document of any known schema, its ``digest`` left out; a number is a number and no text of one.

    Raises:
        ValidationError: pydantic's.
    """
    return Manifest.model_validate_json(json.dumps(upgrade(document)), strict=True)


def upgrade(document: dict[str, Any]) -> dict[str, Any]:
    """Bring the document of an older schema to this one; what it lacks has defaults that say what it meant.

    Schema 1 had no labels, masks, history or AUROC, and golden scores were always those of float32 torch. Schema 2 did
    not say what a threshold catches, which image sets it, nor how many images are copies. Up to schema 3 models were
    fitted on whole frames, and 16-bit pixels were full range. Up to schema 4 graphs were computed in float32 alone.
    """
    return (
        {**document, "schema_version": SCHEMA_VERSION} if document.get("schema_version") in (1, 2, 3, 4) else document
    )


def manifest_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of ``manifest.json``, its ``digest`` included."""
    schema = Manifest.model_json_schema()
    schema["properties"]["digest"] = {"type": "string", "pattern": "^[0-9a-f]{64}$", "title": "Digest"}
    schema["required"] = [*schema["required"], "digest"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
