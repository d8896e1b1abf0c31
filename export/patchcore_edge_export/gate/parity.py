"""The gate: ONNX and the compiled graph must score as float32 torch does, or there is no bundle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from patchcore_edge_runtime.bundle.manifest import OnnxParity, ParityReport, SeenParity
from patchcore_edge_runtime.errors import DataError, ParityError
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.inspection.backend import Backend
from patchcore_edge_runtime.verdict import Thresholds

from ..progress import Shown
from ..samples import Sample
from .deviation import Raw, Reference, Scales, TorchModel, largest, raw
from .limits import LIMITS, SCORE_LIMITS, Limits, failures_of
from .separation import Separation, separation

__all__ = [
    "LIMITS",
    "SCORE_LIMITS",
    "Limits",
    "Sample",
    "Trial",
    "compare",
    "judge",
    "require_parity",
]


_MOST_AUROC_ERROR = 0.01
_ONNX_EACH = 4
"""Batches: the ONNX file is what the IR was made of, in float, and as slow as torch."""
_TIE = LIMITS["fp16"].score
"""Of a distance: what is farther apart is told apart by floats of any kind. INT8's limit is for scores that shift."""
_SEEN_FLOOR = 0.5
"""Of the pixel threshold: where patches are in the bank, what a map says below it is rounding and estimates."""


@dataclass(frozen=True)
class Trial:
    """A graph, the model that it has to score as, and the images to show it by.

    Attributes:
        fitted: float32 torch, on the CPU.
        graph: the compiled model.
        samples: images, streamed; only scores are kept.
        onnx: the ONNX file in ONNX Runtime, where it is at hand.
    """

    fitted: TorchModel
    graph: Backend
    samples: Iterable[Sample]
    onnx: Backend | None = None


@dataclass
class _Deviations:
    """A graph's scores, how far they and the maps lie from torch's, and which images the bank had seen."""

    scores: list[float] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    map: list[float] = field(default_factory=list)
    seen: list[bool] = field(default_factory=list)

    def largest(self, *, seen: bool) -> tuple[float, float]:
        """Deviation of a score and of a map."""
        places = [place for place, one in enumerate(self.seen) if one is seen]
        return largest([self.score[place] for place in places]), largest([self.map[place] for place in places])

    def add(
        self,
        answer: tuple[NDArray[np.float32], NDArray[np.float32]],
        wanted: Sequence[Raw],
        group: Sequence[Sample],
        scales: Scales,
        reference: Reference,
        limit: float,
    ) -> None:
        # The answer may have more rows than were wanted: the last batch is filled up.
        for score, anomaly_map, want, sample in zip(*answer, wanted, group, strict=False):
            floor = _SEEN_FLOOR if sample.seen else 0.0
            self.scores.append(float(score))
            deviation = scales.score(want.score, float(score))
            if deviation > limit:
                # Perhaps of the other of two patches that tie.
                tied = reference.tied_scores(sample.image, min(limit, _TIE))
                deviation = min([deviation, *(scales.score(one, float(score)) for one in tied)])
            self.score.append(deviation)
            self.map.append(scales.map(want.map, anomaly_map, floor))
            self.seen.append(sample.seen)


@dataclass
class _Found:
    """What remains of the images: torch's scores, what they are, and the graphs' deviations."""

    scores: list[float] = field(default_factory=list)
    samples: list[tuple[bool | None, bool, bool]] = field(default_factory=list)
    compiled: _Deviations = field(default_factory=_Deviations)
    onnx: _Deviations = field(default_factory=_Deviations)

    def add(self, group: Sequence[Sample], wanted: Sequence[Raw]) -> None:
        self.scores += [want.score for want in wanted]
        self.samples += [(sample.defective, sample.synthetic, sample.seen) for sample in group]

    def places(self, *, seen: bool) -> list[int]:
        return [place for place, sample in enumerate(self.samples) if sample[2] is seen]

    def kept_apart(self, scales: Scales, *, labelled: bool) -> Separation | None:
        """By torch and by the graph, of images that the bank has not seen: labelled ones, or made and good ones."""
        places = [p for p in self.places(seen=False) if (self.samples[p][0] is not None) is labelled]
        bad = {p for p in places if self.samples[p][0] or self.samples[p][1]}
        sides = [
            ([scores[p] for p in places if p not in bad], [scores[p] for p in bad])
            for scores in (self.scores, self.compiled.scores)
        ]
        return separation(sides, [scales.torch.image, scales.graph.image])


def compare(
    fitted: TorchModel,
    graph: Backend,
    samples: Iterable[Sample],
    *,
    batch: int,
    device: str,
    precision: str,
    thresholds: Thresholds,
    graph_thresholds: Thresholds | None = None,
    search: str = "exact",
    onnx: Backend | None = None,
) -> ParityReport:
    """``judge`` on one trial."""
    scales = Scales(thresholds, graph_thresholds or thresholds)
    trial = Trial(fitted, graph, samples, onnx)
    return judge([trial], batch=batch, device=device, precision=precision, scales=scales, search=search)


def judge(
    trials: Iterable[Trial], *, batch: int, device: str, precision: str, scales: Scales, search: str = "exact"
) -> ParityReport:
    """Score images in torch and in the graphs.

    Args:
        trials: what to compare; several where the bank has seen some of the images and another bank has not.
        batch: static batch size of all graphs.
        device: where the graphs run, for the record.
        precision, search: set the limits.
        scales: what scores are judged by, and what deviations count against.

    Raises:
        DataError: there are no images.
    """
    found, limit, float_limit = _Found(), LIMITS[precision].score, LIMITS["fp32"].score
    for trial in trials:
        reference = trial.fitted if isinstance(trial.fitted, Reference) else Reference(trial.fitted)
        for number, group in enumerate(_groups(Shown(trial.samples, "gate: the graph beside torch"), batch)):
            frames = _frames(group, batch)
            wanted = [raw(trial.fitted, sample.image) for sample in group]
            found.add(group, wanted)
            found.compiled.add(trial.graph.infer(frames), wanted, group, scales, reference, limit)
            if trial.onnx is not None and number % _ONNX_EACH == 0:
                # Float by nature, so on torch's scale.
                own = Scales(scales.torch, scales.torch)
                found.onnx.add(trial.onnx.infer(frames), wanted, group, own, reference, float_limit)
    if not found.scores:
        raise DataError("There are no images to compare on; give --data.")
    return _facts(found, device, LIMITS[precision], search, scales)


def require_parity(facts: ParityReport, advice: str = "") -> None:
    """Raise ``ParityError`` when the comparison failed.

    Args:
        facts: what was found.
        advice: what to do, a sentence; of a bundle that was exported before, to export it again when absent.
    """
    if not facts.passed:
        elsewhere = "try -d CPU" if facts.device != "CPU" else "export the run again with this version"
        raise ParityError(
            f"On {facts.device} the graph does not score as torch does: {'; '.join(facts.failures)}. "
            f"{advice or f'Do not use the bundle there; {elsewhere}.'}"
        )


def _frames(group: Sequence[Sample], batch: int) -> Image:
    # The last group is filled up with its own first image.
    images = [sample.image for sample in group]
    return np.stack(images + images[:1] * (batch - len(images)))


def _groups(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    samples = iter(samples)
    while group := list(islice(samples, size)):
        yield group


def _facts(found: _Found, device: str, limits: Limits, search: str, scales: Scales) -> ParityReport:
    got, unseen = found.compiled, found.places(seen=False)
    score_deviation, map_deviation = got.largest(seen=False)
    labelled, made = (found.kept_apart(scales, labelled=labelled) for labelled in (True, False))
    # Real defects say more than made ones.
    told = labelled or made
    facts = ParityReport(
        device=device,
        images=len(found.scores),
        synthetic=sum(synthetic for _, synthetic, _ in found.samples),
        unseen=len(unseen),
        max_score_deviation=score_deviation,
        max_map_deviation=map_deviation,
        seen=_seen(found, limits, search),
        verdict_flips=scales.flips(found.scores, got.scores),
        flip_limit=int(limits.flips * len(found.scores)),
        rank_correlation=_rank_correlation([(found.scores[place], got.scores[place]) for place in unseen]),
        auroc_torch=labelled and labelled.auroc[0],
        auroc_graph=labelled and labelled.auroc[1],
        synthetic_auroc_torch=made and made.auroc[0],
        synthetic_auroc_graph=made and made.auroc[1],
        auroc_drop_limit=_auroc_drop_limit(limits, labelled, made),
        recall_torch=told and told.recall[0],
        recall_graph=told and told.recall[1],
        recall_drop_limit=told and told.recall_drop_limit,
        score_limit=limits.score,
        map_limit=limits.map_for(search),
        onnx=_onnx(found.onnx),
        passed=True,
    )
    failures = tuple(failures_of(facts))
    return facts.model_copy(update={"failures": failures, "passed": not failures})


def _auroc_drop_limit(limits: Limits, labelled: Separation | None, made: Separation | None) -> float | None:
    """Synthetic defects are a sample, and good images that the bank has not seen may be a dozen."""
    if labelled is not None:
        return limits.auroc_drop
    return None if made is None else limits.auroc_drop + min(made.auroc_error, _MOST_AUROC_ERROR)


def _seen(found: _Found, limits: Limits, search: str) -> SeenParity | None:
    """Of the IR and of the ONNX file, on images that the bank has seen."""
    sides = [side.largest(seen=True) for side in (found.compiled, found.onnx)]
    count = len(found.places(seen=True))
    if not count:
        return None
    return SeenParity(
        images=count,
        max_score_deviation=max(side[0] for side in sides),
        max_map_deviation=max(side[1] for side in sides),
        score_limit=limits.seen,
        map_limit=max(limits.seen, limits.fast_map if search == "fast" else 0.0),
    )


def _onnx(onnx: _Deviations) -> OnnxParity | None:
    if not onnx.seen or all(onnx.seen):
        return None
    score_deviation, map_deviation = onnx.largest(seen=False)
    return OnnxParity(max_score_deviation=score_deviation, max_map_deviation=map_deviation)


def _rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's, of torch's scores and the graph's; None where it is not defined."""
    wanted, got = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if len(set(wanted)) < 2 or len(set(got)) < 2 or not np.isfinite(got).all():
        return None
    return float(np.clip(spearmanr(wanted, got).statistic, -1, 1))
