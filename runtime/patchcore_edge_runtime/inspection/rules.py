"""How a raw score becomes a verdict: thresholds, ignore masks and the smallest defect that counts, in one function."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..bundle.manifest import Manifest
from ..errors import ConfigError
from ..images.geometry import Masks, Roi
from ..validation import require
from ..verdict import Thresholds, Verdict
from .ignore_mask import IgnoreMask
from .regions import Region, find_regions, map_in_frame

__all__ = ["Judgement", "LineRules", "apply_min_defect_area", "judge", "masked_score"]

_ALL_MASKED = "The ignore masks leave nothing of the frame to inspect; make them smaller."
_ALL_TOO_SMALL = "The smallest defect that counts is larger than all that is inspected; lower min_defect_area."


@dataclass(frozen=True)
class LineRules:
    """How a line wants its frames judged; everything is the bundle's own where it is left out.

    Attributes:
        roi: the part of each frame to inspect, as x, y, width, height in pixels; the bundle's, or the whole frame, when
            absent.
        ignore: polygons, in fractions of the frame, within which nothing counts; those of the model are always among
            them once the rules are completed.
        min_defect_area: in frame pixels; a part whose defects are all smaller is not NG.
        thresholds: limits in place of the bundle's.
        check_sanity: refuse frames that are unlike the good images; a flat one is refused in any case.
        in_graph: those of the polygons that the graph leaves out itself; ``completed`` says which.

    Raises:
        ConfigError: one of them is not what it should be.
    """

    roi: Roi | None = None
    ignore: IgnoreMask | None = None
    min_defect_area: float = 0.0
    thresholds: Thresholds | None = None
    check_sanity: bool = True
    in_graph: Masks = ()

    def __post_init__(self) -> None:
        if self.roi is not None:
            object.__setattr__(self, "roi", _as_roi(self.roi))
        require("ignore", self.ignore, (IgnoreMask, type(None)), "an IgnoreMask")
        require("thresholds", self.thresholds, (Thresholds, type(None)), "Thresholds(image=..., pixel=...)")
        require("check_sanity", self.check_sanity, bool, "True or False")
        require("min_defect_area", self.min_defect_area, (int, float), "a number of frame pixels")
        if not 0 <= self.min_defect_area < math.inf:
            raise ConfigError(f"min_defect_area is {self.min_defect_area}; give a number of frame pixels from 0 on.")

    def completed(self, manifest: Manifest) -> LineRules:
        """The same with the bundle's own thresholds, region and ignore masks where these rules leave them out.

        Raises:
            ConfigError: another region of interest than the model's, whose ignore masks would lie elsewhere in it.
        """
        own, roi = manifest.model.ignore_masks, manifest.preprocess.roi
        if own and self.roi is not None and self.roi != roi:
            raise ConfigError(
                f"The bundle was fitted with ignore masks and looks at {_named(roi)}; in the region {_named(self.roi)} "
                "they would lie elsewhere. Leave --roi out, or fit again with it."
            )
        asked = manifest.ignore_masks if self.ignore is None else self.ignore.polygons
        every = own + tuple(polygon for polygon in asked if polygon not in own)
        return replace(
            self,
            thresholds=self.thresholds or manifest.thresholds,
            roi=self.roi or roi,
            ignore=IgnoreMask(every) if every else None,
            in_graph=own,
        )

    def unlike_the_fit(self, manifest: Manifest) -> Iterator[str]:
        """What of a frame counts otherwise by these rules, before they are completed, than in the bundle's fit."""
        own, roi = manifest.model.ignore_masks, manifest.preprocess.roi
        if self.roi is not None and self.roi != roi:
            yield (
                f"{manifest.model_id} was fitted on {_named(roi)} and this line looks at {_named(self.roi)}; its "
                "thresholds hold where that shows the same."
            )
        if self.ignore is not None and set(self.ignore.polygons) != set(own):
            kept = " Those that it was fitted with stay." if set(own) - set(self.ignore.polygons) else ""
            yield (
                f"{manifest.model_id} was fitted with {_counted(len(own))} and this line has "
                f"{_counted(len(self.ignore.polygons))}: what they hide and the fit did not is in the memory bank and "
                f"in the thresholds (`train --ignore-mask` leaves it out).{kept}"
            )

    @cached_property
    def further(self) -> IgnoreMask | None:
        """The polygons that the graph does not know of; None without any."""
        polygons = () if self.ignore is None else self.ignore.polygons
        rest = tuple(polygon for polygon in polygons if polygon not in self.in_graph)
        return IgnoreMask(rest) if rest else None


def _as_roi(roi: object) -> Roi:
    try:
        x, y, width, height = (operator.index(value) for value in roi)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        x = y = width = height = -1
    if min(x, y) < 0 or min(width, height) < 1:
        raise ConfigError(f"roi is {roi!r}; give x, y, width, height in whole pixels, such as (170, 90, 300, 300).")
    return x, y, width, height


class Judgement(NamedTuple):
    """What ``judge`` decides.

    Attributes:
        verdict: of the frame.
        reason: why it is ERROR, or why a score above the limit is no NG; empty otherwise.
        score: the raw score that was judged: of what no ignore mask covers.
        regions: the defects, where the verdict hung on their areas; None where nobody has looked for them.
    """

    verdict: Verdict
    reason: str
    score: float
    regions: tuple[Region, ...] | None = None


def judge(
    score: float, model_map: NDArray[np.float32], rules: LineRules, frame_size: tuple[int, int], box: Roi
) -> Judgement:
    """The verdict for one frame; depends on nothing but its arguments.

    Args:
        score: the graph's raw image score.
        model_map: HxW float32 raw scores, of the model's size.
        rules: with thresholds.
        frame_size: height and width of the frame in pixels.
        box: the part of the frame that the model saw.
    """
    limits = rules.thresholds
    assert limits is not None  # LineRules.completed
    if rules.min_defect_area > box[2] * box[3]:
        return Judgement(Verdict.ERROR, _ALL_TOO_SMALL, float("nan"))
    if not math.isfinite(float(model_map.sum())):
        # The largest of numbers of which one is none is another one, and the score with it.
        return Judgement(Verdict.ERROR, "The model's map has values that are not finite numbers.", float("nan"))
    map_size = (model_map.shape[0], model_map.shape[1])
    if rules.ignore is not None and rules.ignore.map_mask(frame_size, box, map_size).all():
        return Judgement(Verdict.ERROR, _ALL_MASKED, float("nan"))
    if rules.further is not None:
        mask = rules.further.map_mask(frame_size, box, map_size)
        score = masked_score(score, model_map, mask, limits)
    verdict = limits.judge(score)
    if verdict is Verdict.ERROR:
        return Judgement(verdict, "The model's score is not a finite number.", score)
    if verdict is Verdict.NG and rules.min_defect_area > 1:
        frame_map = map_in_frame(model_map, frame_size, box, rules.ignore)
        return apply_min_defect_area(score, frame_map, limits, rules.min_defect_area)
    return Judgement(verdict, "", score)


def _named(roi: Roi | None) -> str:
    return "whole frames" if roi is None else ",".join(map(str, roi))


def _counted(masks: int) -> str:
    return f"{masks or 'no'} ignore mask{'s' if masks != 1 else ''}"


def masked_score(
    score: float, model_map: NDArray[np.float32], mask: NDArray[np.bool_], thresholds: Thresholds
) -> float:
    """The image score of what is not masked, as ``InspectionResult.pred_score`` explains it."""
    highest, visible = float(model_map.max()), float(model_map[~mask].max())
    # Also when a number is not finite: the score then stays what it is, and NaN is an ERROR.
    if not visible < highest:
        return score
    return min(score, max(score * visible / highest, thresholds.image * visible / thresholds.pixel))


def apply_min_defect_area(
    score: float, frame_map: NDArray[np.float32], thresholds: Thresholds, min_area: float
) -> Judgement:
    """No NG for defects that are all smaller than the smallest that counts; without any region NG stays.

    Args:
        score: above the limit.
        frame_map: HxW float32 raw scores in frame coordinates.
        thresholds: the limits.
        min_area: in frame pixels.
    """
    mask = np.asarray(frame_map > thresholds.pixel)
    regions = find_regions(frame_map, mask, min_area)
    if regions or not mask.any():
        return Judgement(Verdict.NG, "", score, regions)
    verdict = Verdict.OK if thresholds.warn is None else Verdict.WARN
    return Judgement(verdict, f"No defect reaches {min_area:g} pixels.", score, regions)
