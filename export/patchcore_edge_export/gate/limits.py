"""How far a graph may be from float32 torch, and the words for one that is farther."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from patchcore_edge_runtime.bundle.lower_precision import InferencePrecision
from patchcore_edge_runtime.bundle.manifest import ParityReport, SeenParity

__all__ = ["LIMITS", "SCORE_LIMITS", "UNBOUNDED", "Limits", "failures_of", "limits_name", "off"]

UNBOUNDED = 1e9
"""What a deviation counts as that is not a finite number."""

_LEAST_SHOWN = 1e-5


@dataclass(frozen=True)
class Limits:
    """Largest deviations from float32 torch that pass; what they are relative to: ``deviation.Scales``.

    Attributes:
        score: of an image score.
        map: of a map.
        fast_map: the same when estimates are in the map, which fast search leaves where nothing is anomalous.
        auroc_drop: loss of image AUROC.
        flips: share of the images whose verdict may change.
        seen: of a score and an exact map where the bank holds patches of the image: many patches then lie at the
            coreset's radius, and rounding decides which of them is the worst and whose neighbourhood weighs it.
    """

    score: float
    map: float
    fast_map: float
    auroc_drop: float
    flips: float = 0.0
    seen: float = 0.05

    def map_for(self, search: str) -> float:
        """Of a map of that search."""
        return self.fast_map if search == "fast" else self.map


LIMITS = {
    "fp32": Limits(score=1e-4, map=1e-3, fast_map=0.2, auroc_drop=1e-3),
    "fp16": Limits(score=5e-3, map=2e-2, fast_map=0.2, auroc_drop=2e-3, flips=0.01),
    # What the backbone computes in; the search stays in float32. A rounding to bf16's eight digits is 2e-3 a value.
    "f16": Limits(score=1e-2, map=3e-2, fast_map=0.2, auroc_drop=2e-3, flips=0.01),
    "bf16": Limits(score=3e-2, map=6e-2, fast_map=0.2, auroc_drop=2e-3, flips=0.01, seen=0.1),
    # Also for compressed weights. Scores shift and thresholds with them; what counts is who is called defective.
    "int8": Limits(score=0.25, map=0.25, fast_map=0.4, auroc_drop=5e-3, flips=0.05, seen=0.25),
}

SCORE_LIMITS = {precision: limits.score for precision, limits in LIMITS.items()}


def limits_name(stored: str, computed: InferencePrecision) -> str:
    """Which limits hold for weights of one precision that are computed with in another: the wider ones."""
    return stored if stored == "int8" or computed == "f32" else computed


def failures_of(facts: ParityReport) -> Iterator[str]:
    """What did not pass, a phrase each."""
    if facts.max_score_deviation > facts.score_limit:
        yield f"a score is {off(facts.max_score_deviation, facts.score_limit)}"
    if facts.max_map_deviation > facts.map_limit:
        yield f"a heatmap is {off(facts.max_map_deviation, facts.map_limit)}"
    yield from _seen_failures(facts.seen)
    if facts.verdict_flips > facts.flip_limit:
        yield f"{facts.verdict_flips} of {facts.images} images get another verdict (limit {facts.flip_limit})"
    yield from _separation_failures(facts)
    onnx, floats = facts.onnx, LIMITS["fp32"]
    if onnx is not None and onnx.max_score_deviation > floats.score:
        yield f"a score of the ONNX file is {off(onnx.max_score_deviation, floats.score)}"
    if onnx is not None and onnx.max_map_deviation > (limit := max(facts.map_limit, floats.map)):
        yield f"a heatmap of the ONNX file is {off(onnx.max_map_deviation, limit)}"


def off(deviation: float, limit: float) -> str:
    """How far a score or a map is from torch's, and how far it may be, in three digits."""
    if not deviation < UNBOUNDED:
        return "no number"
    return f"off by {_percent(deviation)} of the threshold (limit {_percent(limit)})"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if share >= _LEAST_SHOWN else f"less than {100 * _LEAST_SHOWN:.3g} %"


def _seen_failures(seen: SeenParity | None) -> Iterator[str]:
    if seen is not None and seen.max_score_deviation > seen.score_limit:
        yield f"a training image's score is {off(seen.max_score_deviation, seen.score_limit)}"
    if seen is not None and seen.max_map_deviation > seen.map_limit:
        yield f"a training image's heatmap is {off(seen.max_map_deviation, seen.map_limit)}"


def _separation_failures(facts: ParityReport) -> Iterator[str]:
    labelled = facts.auroc_torch is not None
    whose = "defects" if labelled else "synthetic defects"
    before, after = facts.auroc_torch, facts.auroc_graph
    if not labelled:
        before, after = facts.synthetic_auroc_torch, facts.synthetic_auroc_graph
    most = facts.auroc_drop_limit
    if before is not None and after is not None and most is not None and not before - after <= most:
        yield (
            f"good parts and {whose} are told apart less well: image AUROC falls from {before:.3f} to {after:.3f}, by "
            f"{before - after:.3g} (limit {most:.3g})"
        )
    before, after, most = facts.recall_torch, facts.recall_graph, facts.recall_drop_limit
    if before is not None and after is not None and most is not None and not before - after <= most:
        yield (
            f"of the {whose} {_percent(before)} are found at 1 % false rejects in torch and {_percent(after)} by the "
            f"graph (limit {_percent(most)} fewer)"
        )
