"""What is recorded of a threshold, and what a person is told."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.bundle.manifest import CalibrationFacts, ScoreStats
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.shown import MAX_NAME, printable
from patchcore_edge_runtime.verdict import Thresholds

from .good_scores import Caught, GoodScores
from .rank import CONFIDENCE, new_batch_rate, rate_of, upper_bound, value_at
from .trade_off import recall, trade_off

__all__ = ["Found", "describe", "good_facts", "made", "score_stats"]

_FEW_PARTS = 30
"""Fewer than so many support no better than 3 %, and on 20 the highest score caught 7 % of a part's defects."""
_ALONE = 0.25
"""An image sets the threshold alone when without it a quarter of the way to the median would be gone."""
_MOST = 0.5


@dataclass(frozen=True)
class Found:
    """Which good score is the threshold.

    Attributes:
        rank: of it among the n parts' scores, from 1.
        promised: the rank whose rate holds: lower where the threshold was chosen by looking at the scores.
        rate: that was asked for; None for the default.
        supports: whether the parts are enough for it.
        reason: why this rate; found out where empty.
    """

    rank: int
    promised: int
    rate: float | None
    supports: bool
    reason: str


def good_facts(
    good: GoodScores,
    parts: GoodScores,
    found: Found,
    caught: Caught,
    *,
    data: str,
    method: Literal["held-out", "cross-fitted"],
) -> CalibrationFacts:
    """The record of a threshold from good images.

    Args:
        good: all images.
        parts: one image a part.
        found: which score is the threshold.
        caught: scores of defects.
        data: where the images come from.
        method: how the scores came to be out of sample.
    """
    n, threshold = len(parts), value_at(parts.scores, found.rank)
    promised = rate_of(n, found.promised)
    setter = int(np.argsort(parts.scores, kind="stable")[found.rank - 1])
    facts = CalibrationFacts(
        data=printable(data)[-1000:],
        method=method,
        defects=len(caught.labelled),
        n=n,
        images=len(good),
        batches=parts.batch_count,
        target_fpr=promised if found.rate is None else found.rate,
        rank=found.rank,
        supported_fpr=promised,
        fpr_upper_bound=upper_bound(n, found.promised),
        new_batch_fpr=new_batch_rate(parts.scores, parts.batches, found.rank) if parts.batch_count else None,
        supports_target=found.supports,
        scores=score_stats(parts.scores),
        reason=found.reason or _why(parts, found, caught),
        set_by=printable(parts.names[setter])[-MAX_NAME:] if parts.names else "",
        threshold_without=value_at(parts.scores, found.rank - 1) if found.rank > 1 else None,
        synthetic=len(caught.synthetic),
        synthetic_recall=recall(caught.synthetic, threshold),
        trade_off=trade_off(parts, caught),
    )
    suspects = frozenset(printable(name)[-MAX_NAME:] for name in parts.suspects)
    return facts.model_copy(update={"warnings": tuple(_warnings(facts, threshold, suspects))})


def describe(thresholds: Thresholds, facts: CalibrationFacts) -> str:
    """What a person should know about the thresholds, in a few sentences; the warnings are said beside it."""
    text = f"Threshold {thresholds.image:.4g} (pixels {thresholds.pixel:.4g}) from {_what(facts)}: {_promise(facts)}."
    if facts.method != "f1" and not facts.supports_target:
        text += _too_few(facts)
    elif facts.reason not in ("", "as asked") and facts.method != "f1":
        text += f" {facts.reason}"
    if facts.synthetic_recall is not None:
        text += f" It catches {facts.synthetic_recall:.0%} of {facts.synthetic} synthetic defects."
    if facts.set_by:
        text += f" The score of {facts.set_by} sets it."
    return text


def made(image: float, pixel: float) -> Thresholds:
    """Thresholds of two values.

    Raises:
        ConfigError: one is zero: the bank has seen the images.
    """
    if min(image, pixel) <= 0:
        raise ConfigError("The calibration images score zero: the bank has seen them; give images that were held out.")
    return Thresholds(image=image, pixel=pixel)


def score_stats(scores: NDArray[np.float32]) -> ScoreStats:
    """Least, middle and largest of ``[n]`` scores."""
    return ScoreStats(min=float(scores.min()), median=float(np.median(scores)), max=float(scores.max()))


def _what(facts: CalibrationFacts) -> str:
    parts = f"{facts.n} good images"
    if facts.images > facts.n:
        parts = f"{facts.images} good images of {facts.n} different parts"
    batches = f" in {facts.batches} batches" if facts.batches else ""
    if facts.method == "f1":
        return f"{parts} and {facts.defects} defective images, F1 {facts.f1 or 0:.3f}"
    return f"{parts}{batches}, cross-fitted" if facts.method == "cross-fitted" else f"{parts}{batches}"


def _promise(facts: CalibrationFacts) -> str:
    bound = f"with {CONFIDENCE:.0%} confidence fewer than {facts.fpr_upper_bound:.2%} of good parts"
    if facts.method == "f1":
        return f"{facts.n - facts.rank} of these good images would be rejected, {bound}"
    batch = "these batches" if facts.batches else "the same batch"
    promise = f"expect at most {facts.supported_fpr:.2%} of good parts of {batch} rejected, {bound}"
    if facts.new_batch_fpr is not None:
        promise += f"; of a new batch at most {facts.new_batch_fpr:.1%} on average, as {facts.batches} batches can say"
    return promise


def _too_few(facts: CalibrationFacts) -> str:
    wanted = math.ceil(1 / facts.target_fpr) - 1
    count, what = (facts.batches, "batches") if facts.batches else (facts.n, "images")
    return (
        f" {count} {what} are too few for the {facts.target_fpr:.3%} asked for, which takes at least {wanted};"
        " the threshold is the highest good score."
    )


def _why(parts: GoodScores, found: Found, caught: Caught) -> str:
    """Why the default chose its rate, in one sentence."""
    n, most = len(parts), rate_of(len(parts), found.promised)
    here, lower = (recall(caught.synthetic, value_at(parts.scores, rank)) for rank in (found.rank, n))
    if found.promised == n:
        return f"No rate was asked for; {n} parts support no lower one than {most:.1%}, and about 5 % may be spent."
    if here is None or lower is None:
        return f"No rate was asked for; {most:.1%} is the nearest to 5 % that {n} parts support."
    if found.rank == n:
        return (
            f"No rate was asked for; up to {most:.1%} could have been spent, but the highest good score catches as "
            "many synthetic defects."
        )
    return (
        f"No rate was asked for; {most:.1%} is taken, because the lowest that {n} parts support ({rate_of(n, n):.1%}) "
        f"would catch {lower:.0%} of the synthetic defects and this {here:.0%}."
    )


def _warnings(facts: CalibrationFacts, threshold: float, suspects: frozenset[str]) -> Iterator[str]:
    """What a person has to know before trusting a threshold."""
    without = facts.threshold_without
    gain = "" if without is None else f" Without it the threshold would be {without:.4g} and not {threshold:.4g}."
    if facts.set_by in suspects:
        yield (
            f"{facts.set_by} sets the threshold, and `train` found it unlike the other images.{gain} Look at it in "
            "outliers.html; if it does not show a good part, take it out, train and calibrate again."
        )
    elif without is not None and facts.set_by and threshold - without > _ALONE * (threshold - facts.scores.median):
        yield (
            f"{facts.set_by} alone sets the threshold.{gain} Look at it; if it does not show a good part, take it out, "
            "train and calibrate again, else give more good images like it."
        )
    if facts.synthetic_recall is not None and facts.synthetic_recall < _MOST:
        yield (
            f"Most synthetic defects would pass: the threshold catches {facts.synthetic_recall:.0%} of "
            f"{facts.synthetic}. Try a higher --target-fpr, more good images, another recipe or another backbone."
        )
    if facts.n < _FEW_PARTS:
        yield (
            f"{facts.n} different parts are few: the threshold rests on one or two of them and may be far off; "
            "calibrate again with 60 or more good parts."
        )
