"""How far a graph may be from float32 torch, and the words for one that is farther."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from patchcore_edge_runtime.bundle.lower_precision import InferencePrecision
from patchcore_edge_runtime.bundle.manifest import ParityReport, SeenParity

__all__ = ["LIMITS", "SCORE_LIMITS", "Limits", "failures_of", "limits_name"]


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
        yield f"a score deviates by {facts.max_score_deviation:.2e} (limit {facts.score_limit:.0e})"
    if facts.max_map_deviation > facts.map_limit:
        yield f"a map deviates by {facts.max_map_deviation:.2e} (limit {facts.map_limit:.0e})"
    yield from _seen_failures(facts.seen)
    if facts.verdict_flips > facts.flip_limit:
        yield f"{facts.verdict_flips} of {facts.images} verdicts flip (limit {facts.flip_limit})"
    yield from _separation_failures(facts)
    if facts.onnx is not None and facts.onnx.max_score_deviation > LIMITS["fp32"].score:
        yield f"a score of the ONNX file deviates by {facts.onnx.max_score_deviation:.2e}"
    if facts.onnx is not None and facts.onnx.max_map_deviation > max(facts.map_limit, LIMITS["fp32"].map):
        yield f"a map of the ONNX file deviates by {facts.onnx.max_map_deviation:.2e}"


def _seen_failures(seen: SeenParity | None) -> Iterator[str]:
    if seen is not None and seen.max_score_deviation > seen.score_limit:
        yield f"a training image's score deviates by {seen.max_score_deviation:.2e} (limit {seen.score_limit:.0e})"
    if seen is not None and seen.max_map_deviation > seen.map_limit:
        yield f"a training image's map deviates by {seen.max_map_deviation:.2e} (limit {seen.map_limit:.0e})"


def _separation_failures(facts: ParityReport) -> Iterator[str]:
    labelled = facts.auroc_torch is not None
    before, after, what = facts.auroc_torch, facts.auroc_graph, "image AUROC"
    if not labelled:
        before, after = facts.synthetic_auroc_torch, facts.synthetic_auroc_graph
        what = "image AUROC of synthetic defects"
    most = facts.auroc_drop_limit
    if before is not None and after is not None and most is not None and not before - after <= most:
        yield f"{what} falls from {before:.4f} to {after:.4f} (limit {most:.4f})"
    before, after, most = facts.recall_torch, facts.recall_graph, facts.recall_drop_limit
    if before is not None and after is not None and most is not None and not before - after <= most:
        whose = "defects" if labelled else "synthetic defects"
        yield f"recall of {whose} at 1 % false rejects falls from {before:.3f} to {after:.3f} (limit {most:.3f})"
