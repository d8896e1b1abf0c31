"""How a bundle was shown to score as the fitted model does."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from .facts import Facts, Finite, NonNegative, Share, Text

__all__ = ["OnnxParity", "ParityReport", "SeenParity"]


class OnnxParity(Facts):
    """torch float32 against the ONNX file in ONNX Runtime, before it became IR."""

    max_score_deviation: float
    max_map_deviation: float


class SeenParity(Facts):
    """The graph against torch on images of which the memory bank holds patches; the ONNX file too, where it was there.

    Attributes:
        images: how many.
        max_score_deviation, max_map_deviation: as in ``ParityReport``; of maps, above half of the pixel threshold.
        score_limit, map_limit: largest deviations that pass.
    """

    images: PositiveInt
    max_score_deviation: float
    max_map_deviation: float
    score_limit: NonNegative
    map_limit: NonNegative


class ParityReport(Facts):
    """torch float32 against the compiled model on the same images, each judged by its own thresholds (docs/gate.md).

    Each side's scores are in units of its own threshold.

    Attributes:
        images: how many; of them ``synthetic`` carry a defect that the export made.
        unseen: how many of them the memory bank has not seen; 0 in bundles of schema 1 and 2, which did not tell.
            What follows is of these, but for ``seen`` and the flips.
        max_score_deviation: of an image's score, relative to the larger of torch's and the image threshold.
        max_map_deviation: of a map, relative to the larger of torch's maximum and the pixel threshold.
        seen: deviations on the other images.
        verdict_flips: images that the thresholds judge otherwise.
        flip_limit: how many of them pass; none for ``fp32``.
        rank_correlation: Spearman's, of the scores; absent where all are equal. For information.
        auroc_torch, auroc_graph: image AUROC where the images are labelled.
        synthetic_auroc_torch, synthetic_auroc_graph: image AUROC of synthetic defects among good images.
        auroc_drop_limit: by how much AUROC may fall; of labelled images where there are any, else of synthetic ones.
        recall_torch, recall_graph: share of the defects, labelled ones where there are any and else synthetic ones,
            above the score that 1 % of good parts exceed; above all good images where they are fewer than 99.
        recall_drop_limit: by how much it may fall.
        score_limit, map_limit: largest deviations that pass.
        onnx: the same for the ONNX file; absent when it was not at hand.
        failures: what did not pass, a phrase each; a bundle that has any was forced.
    """

    device: Text
    images: PositiveInt
    synthetic: NonNegativeInt = 0
    unseen: NonNegativeInt = 0
    max_score_deviation: float
    max_map_deviation: float
    seen: SeenParity | None = None
    verdict_flips: NonNegativeInt
    flip_limit: NonNegativeInt = 0
    rank_correlation: Annotated[float, Field(ge=-1, le=1)] | None = None
    auroc_torch: Share | None = None
    auroc_graph: Share | None = None
    synthetic_auroc_torch: Share | None = None
    synthetic_auroc_graph: Share | None = None
    auroc_drop_limit: Finite | None = None
    recall_torch: Share | None = None
    recall_graph: Share | None = None
    recall_drop_limit: Share | None = None
    score_limit: NonNegative
    map_limit: NonNegative = 1.0
    onnx: OnnxParity | None = None
    failures: Annotated[tuple[Text, ...], Field(max_length=20)] = ()
    passed: bool
