"""The gate: ONNX and the compiled graph must score as float32 torch does, or there is no bundle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.errors import DataError, ParityError
from patchcore_edge_runtime.manifest import OnnxParity, ParityFacts
from patchcore_edge_runtime.preprocess import Image
from patchcore_edge_runtime.verdict import Thresholds

__all__ = ["LIMITS", "SCORE_LIMITS", "UNBOUNDED", "Graph", "Limits", "Sample", "compare", "require_parity"]


@dataclass(frozen=True)
class Limits:
    """Largest deviations from float32 torch that pass (DESIGN section 5).

    Attributes:
        score: of an image score, relative to torch's.
        map: of a map, relative to the larger of torch's maximum and the pixel threshold.
        fast_map: the same when estimates are in the map, which fast search leaves where nothing is anomalous.
        auroc_drop: loss of image AUROC on labelled images.
        flips: share of the images whose verdict may change.
        rank: least rank correlation of the scores; asked for where no image is labelled.
    """

    score: float
    map: float
    fast_map: float
    auroc_drop: float
    flips: float = 0.0
    rank: float = -1.0


LIMITS = {
    "fp32": Limits(score=1e-4, map=1e-3, fast_map=0.2, auroc_drop=1e-3),
    "fp16": Limits(score=5e-3, map=2e-2, fast_map=0.2, auroc_drop=2e-3),
    # Also for compressed weights. Scores shift and thresholds with them; what counts is who is called defective.
    "int8": Limits(score=0.25, map=0.5, fast_map=0.5, auroc_drop=5e-3, flips=0.05, rank=0.95),
}
SCORE_LIMITS = {precision: limits.score for precision, limits in LIMITS.items()}

UNBOUNDED = 1e9
"""What a deviation counts as that is not a finite number."""


class Graph(Protocol):
    """What is compared with torch: a compiled IR, or ONNX in ONNX Runtime."""

    def infer(self, images: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """``[N,H,W,3]`` uint8 BGR → raw scores ``[N]`` and maps ``[N,1,H,W]``."""
        ...


@dataclass(frozen=True)
class Sample:
    """An image to compare on: HxWx3 uint8 BGR of the model's size.

    Attributes:
        defective: as labelled; None where nobody looked.
        synthetic: the defect was made by this program.
    """

    image: Image
    defective: bool | None = None
    synthetic: bool = False


@dataclass(frozen=True)
class _Wanted:
    """float32 torch's raw score and map of an image."""

    score: float
    map: NDArray[np.float32]


@dataclass
class _Deviations:
    """A graph's scores, and how far they and the maps lie from torch's."""

    scores: list[float] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    map: list[float] = field(default_factory=list)

    def add(
        self, answer: tuple[NDArray[np.float32], NDArray[np.float32]], wanted: Sequence[_Wanted], floor: float
    ) -> None:
        # The answer may have more rows than were wanted: the last batch is filled up.
        for score, anomaly_map, want in zip(*answer, wanted, strict=False):
            self.scores.append(float(score))
            self.score.append(abs(float(score) - want.score) / max(abs(want.score), 1e-12))
            self.map.append(float(np.abs(anomaly_map - want.map).max()) / max(float(want.map.max()), floor))


@dataclass
class _Seen:
    """What remains of the images: torch's scores, the labels, and the graphs' deviations."""

    scores: list[float] = field(default_factory=list)
    defective: list[bool | None] = field(default_factory=list)
    synthetic: int = 0
    compiled: _Deviations = field(default_factory=_Deviations)
    onnx: _Deviations = field(default_factory=_Deviations)

    def add(self, group: Sequence[Sample], wanted: Sequence[_Wanted]) -> None:
        self.scores += [want.score for want in wanted]
        self.defective += [sample.defective for sample in group]
        self.synthetic += sum(sample.synthetic for sample in group)


def compare(
    fitted: Patchcore,
    graph: Graph,
    samples: Iterable[Sample],
    *,
    batch: int,
    device: str,
    precision: str,
    thresholds: Thresholds,
    graph_thresholds: Thresholds | None = None,
    search: str = "exact",
    onnx: Graph | None = None,
) -> ParityFacts:
    """Score images in torch and in the graphs.

    Args:
        fitted: float32 torch, on the CPU.
        graph: the compiled model.
        samples: images, streamed; only scores are kept.
        batch: static batch size of both graphs.
        device: where ``graph`` runs, for the record.
        precision, search: set the limits.
        thresholds: what counts as a flipped verdict.
        graph_thresholds: of the compiled model, where they were found again on its own scores.
        onnx: the ONNX file in ONNX Runtime, where it was kept.

    Raises:
        DataError: there are no images.
    """
    seen = _Seen()
    for group in _groups(samples, batch):
        frames = _frames(group, batch)
        wanted = [_torch(fitted, sample.image) for sample in group]
        seen.add(group, wanted)
        seen.compiled.add(graph.infer(frames), wanted, thresholds.pixel)
        if onnx is not None:
            seen.onnx.add(onnx.infer(frames), wanted, thresholds.pixel)
    if not seen.scores:
        raise DataError("There are no images to compare on; give --data.")
    return _facts(seen, device, LIMITS[precision], search, (thresholds, graph_thresholds or thresholds))


def require_parity(facts: ParityFacts) -> None:
    """Raise ``ParityError`` when the comparison failed."""
    if not facts.passed:
        raise ParityError(
            f"On {facts.device} the graph does not score as torch does: {'; '.join(facts.failures)}. "
            "Use --precision fp32 --search exact, or calibrate again if the images changed; "
            "--force writes the bundle all the same."
        )


def _frames(group: Sequence[Sample], batch: int) -> Image:
    # The last group is filled up with its own first image.
    images = [sample.image for sample in group]
    return np.stack(images + images[:1] * (batch - len(images)))


def _groups(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    samples = iter(samples)
    while group := list(islice(samples, size)):
        yield group


def _torch(fitted: Patchcore, image: Image) -> _Wanted:
    output = fitted(torch.from_numpy(image)[None])
    return _Wanted(float(output.pred_score[0]), output.anomaly_map[0].numpy())


def _facts(
    seen: _Seen, device: str, limits: Limits, search: str, thresholds: tuple[Thresholds, Thresholds]
) -> ParityFacts:
    got = seen.compiled
    onnx = OnnxParity(max_score_deviation=_max(seen.onnx.score), max_map_deviation=_max(seen.onnx.map))
    facts = ParityFacts(
        device=device,
        images=len(seen.scores),
        synthetic=seen.synthetic,
        max_score_deviation=_max(got.score),
        max_map_deviation=_max(got.map),
        verdict_flips=sum(
            thresholds[0].judge(a) != thresholds[1].judge(b) for a, b in zip(seen.scores, got.scores, strict=True)
        ),
        flip_limit=int(limits.flips * len(seen.scores)),
        rank_correlation=_rank_correlation(seen.scores, got.scores),
        auroc_torch=_auroc(seen.defective, seen.scores),
        auroc_graph=_auroc(seen.defective, got.scores),
        score_limit=limits.score,
        map_limit=limits.fast_map if search == "fast" else limits.map,
        onnx=onnx if seen.onnx.scores else None,
        passed=True,
    )
    failures = tuple(_failures(facts, limits))
    return facts.model_copy(update={"failures": failures, "passed": not failures})


def _failures(facts: ParityFacts, limits: Limits) -> Iterator[str]:
    if facts.max_score_deviation > facts.score_limit:
        yield f"a score deviates by {facts.max_score_deviation:.2e} (limit {facts.score_limit:.0e})"
    if facts.max_map_deviation > facts.map_limit:
        yield f"a map deviates by {facts.max_map_deviation:.2e} (limit {facts.map_limit:.0e})"
    if facts.verdict_flips > facts.flip_limit:
        yield f"{facts.verdict_flips} of {facts.images} verdicts flip (limit {facts.flip_limit})"
    yield from _ranking_failures(facts, limits)
    if facts.onnx is not None and facts.onnx.max_score_deviation > LIMITS["fp32"].score:
        yield f"a score of the ONNX file deviates by {facts.onnx.max_score_deviation:.2e}"
    if facts.onnx is not None and facts.onnx.max_map_deviation > max(facts.map_limit, LIMITS["fp32"].map):
        yield f"a map of the ONNX file deviates by {facts.onnx.max_map_deviation:.2e}"


def _ranking_failures(facts: ParityFacts, limits: Limits) -> Iterator[str]:
    if facts.auroc_torch is None and limits.rank > -1 and not (facts.rank_correlation or -1) >= limits.rank:
        yield f"the scores' rank correlation is {facts.rank_correlation} (at least {limits.rank})"
    if facts.auroc_torch is not None and facts.auroc_graph is not None:
        drop = facts.auroc_torch - facts.auroc_graph
        if not drop <= limits.auroc_drop:
            yield (
                f"image AUROC falls from {facts.auroc_torch:.4f} to {facts.auroc_graph:.4f} (limit {limits.auroc_drop})"
            )


def _max(values: list[float]) -> float:
    """The largest; ``UNBOUNDED`` where one is not finite, which JSON could not say."""
    if not np.isfinite(values).all():
        return UNBOUNDED
    return min(max(values, default=0.0), UNBOUNDED)


def _rank_correlation(wanted: list[float], got: list[float]) -> float | None:
    """Spearman's; None where it is not defined."""
    if len(set(wanted)) < 2 or len(set(got)) < 2 or not np.isfinite(got).all():
        return None
    return float(np.clip(spearmanr(wanted, got).statistic, -1, 1))


def _auroc(defective: list[bool | None], scores: list[float]) -> float | None:
    """Over the images that somebody labelled."""
    known = [(label, score) for label, score in zip(defective, scores, strict=True) if label is not None]
    labels = [label for label, _ in known]
    if len(set(labels)) < 2 or not np.isfinite(scores).all():
        return None
    return float(roc_auc_score(labels, [score for _, score in known]))
