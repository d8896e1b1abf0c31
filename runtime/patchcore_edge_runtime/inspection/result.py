"""What one inspection returns."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle.manifest import Labels
from ..images.files import write_image
from ..images.geometry import Roi
from ..images.preprocess import Image, PreprocessSpec
from ..verdict import Thresholds, Verdict
from .ignore_mask import IgnoreMask
from .regions import Region, find_regions, keep_large, map_in_frame

__all__ = ["InspectionResult", "Timings"]


@dataclass(frozen=True)
class Timings:
    """Milliseconds per stage: resizing, input sanity, the graph, the verdict."""

    preprocess_ms: float = 0.0
    inference_ms: float = 0.0
    sanity_ms: float = 0.0
    judge_ms: float = 0.0

    @property
    def total_ms(self) -> float:
        """From frame to verdict."""
        return self.preprocess_ms + self.sanity_ms + self.inference_ms + self.judge_ms


@dataclass(frozen=True)
class InspectionResult:
    """Verdict, scores and map of one frame.

    Attributes:
        verdict: OK, WARN, NG or ERROR; of the part, where frames are debounced.
        reason: why the verdict is ERROR, or why a score above the limit is no NG; empty otherwise.
        pred_score: raw image score; NaN with ERROR. Where an ignore mask hides the highest place of the map, the score
            of the rest: the larger of the score scaled down by the map's largest value outside over that
            inside, and the image limit scaled by the largest value outside over the pixel limit. So a place
            outside that is above the pixel limit is always above the image limit too.
        thresholds: the limits that the score was judged by.
        frame_size: height and width of the frame in pixels.
        roi: the part of the frame that was inspected.
        model_id: name and weights' digest of the bundle.
        manifest: digest of the manifest that judged, as it stands in the bundle; another one after every edit.
        model_map: float32 raw map of the model's input size; None with ERROR.
        preprocess: how the frame became the model's input, which is the way back from map to frame.
        ignore: the parts of the frame in which nothing counts.
        min_defect_area: in frame pixels; smaller parts of the mask are left out.
        frame_id: number of the frame, as the source or else the inspector counts.
        time: seconds since the epoch at capture, or when the inspector was called.
        frame_verdict: of this frame alone; differs from ``verdict`` only where frames are debounced.
        labels: the bundle's words for good and anomalous parts.
        known_regions: the regions, where the verdict hung on them; None where they are still to be found.
        frame: what was inspected, to be drawn on; no copy, so that a result keeps its frame in memory as long as it is
            kept itself (``to_dict`` gives what is worth keeping). None where there is none.
    """

    verdict: Verdict
    reason: str
    pred_score: float
    thresholds: Thresholds
    frame_size: tuple[int, int]
    roi: Roi
    timings: Timings
    model_id: str
    preprocess: PreprocessSpec = field(repr=False)
    model_map: NDArray[np.float32] | None = field(repr=False)
    ignore: IgnoreMask | None = field(default=None, repr=False)
    min_defect_area: float = 0.0
    frame_id: int = 0
    time: float = 0.0
    frame_verdict: Verdict | None = None
    labels: Labels = field(default_factory=Labels)
    known_regions: tuple[Region, ...] | None = field(default=None, repr=False)
    manifest: str = ""
    frame: NDArray[Any] | None = field(default=None, repr=False, compare=False)

    @property
    def pred_label(self) -> bool:
        """True for an anomalous part (NG)."""
        return self.verdict is Verdict.NG

    @property
    def label(self) -> str:
        """The bundle's word for an OK or NG part; empty for WARN and ERROR, for which it has none."""
        return {Verdict.OK: self.labels.good, Verdict.NG: self.labels.anomalous}.get(self.verdict, "")

    @property
    def normalized_score(self) -> float:
        """The score on [0, 1] with the threshold at 0.5; NaN with ERROR."""
        return self.thresholds.normalize(self.pred_score) if math.isfinite(self.pred_score) else float("nan")

    @cached_property
    def anomaly_map(self) -> NDArray[np.float32]:
        """HxW float32 raw scores in frame coordinates; zero where the model did not look and where nothing counts.

        Made when asked for, and kept: 33 MB for a 4K frame.
        """
        return self._frame_map()

    def _frame_map(self) -> NDArray[np.float32]:
        if self.model_map is None:
            return np.zeros(self.frame_size, np.float32)
        return map_in_frame(self.model_map, self.frame_size, self.seen_box, self.ignore)

    @property
    def seen_box(self) -> Roi:
        """The part of the frame that reached the model: the region of interest less what the centre crop took."""
        return self.preprocess.seen_box(self.roi)

    @cached_property
    def pred_mask(self) -> NDArray[np.bool_]:
        """HxW bool in frame coordinates: where the map is above the pixel threshold, small parts left out."""
        return keep_large(np.asarray(self.anomaly_map > self.thresholds.pixel), self.min_defect_area)

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """The connected parts of the mask, the highest peak first; found when asked for."""
        if self.known_regions is not None:
            return self.known_regions
        # Without keeping the map: records wait in queues by the hundred.
        full = self.__dict__["anomaly_map"] if "anomaly_map" in self.__dict__ else self._frame_map()
        return find_regions(full, np.asarray(full > self.thresholds.pixel), self.min_defect_area)

    @property
    def has_regions(self) -> bool:
        """Whether regions are recorded: with WARN and NG."""
        return self.verdict in (Verdict.WARN, Verdict.NG)

    def plot(self, frame: NDArray[Any] | None = None) -> Image:
        """The frame with heatmap, contours and verdict, as ``draw_overlay`` draws it by default.

        Args:
            frame: to draw on, in place of the one that was inspected.

        Returns:
            uint8 BGR picture, as OpenCV takes it.
        """
        # By its name: what draws results knows them, so it is above them, and they only ask for it.
        drawing = import_module("patchcore_edge_runtime.display.overlay")
        own = self.frame if frame is None else frame
        drawn: Image = drawing.draw_overlay(np.zeros(0, np.uint8) if own is None else own, self)
        return drawn

    def save(self, path: str | os.PathLike[str], frame: NDArray[Any] | None = None) -> Path:
        """Write what ``plot`` draws; the ending (``.png``, ``.jpg``) says the format, and the folders above are made.

        Raises:
            ConfigError: the picture cannot be written.
        """
        write_image(Path(path), self.plot(frame))
        return Path(path)

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON values, without the map; regions only with WARN and NG."""
        regions = self.regions if self.has_regions else ()
        failed = not math.isfinite(self.pred_score)
        return {
            "verdict": str(self.verdict),
            "label": self.label,
            "frame_verdict": str(self.frame_verdict or self.verdict),
            "reason": self.reason,
            "pred_score": None if failed else self.pred_score,
            "normalized_score": None if failed else self.normalized_score,
            "threshold": self.thresholds.image,
            "roi": list(self.roi),
            "regions": [
                {"box": list(r.box), "area": r.area, "peak": round(r.peak, 6), "peak_at": list(r.peak_at)}
                for r in regions
            ],
            "preprocess_ms": round(self.timings.preprocess_ms, 3),
            "sanity_ms": round(self.timings.sanity_ms, 3),
            "inference_ms": round(self.timings.inference_ms, 3),
            "judge_ms": round(self.timings.judge_ms, 3),
            "model_id": self.model_id,
            "manifest": self.manifest,
        }
