"""``predict``: images judged by a run on torch, as the line PC will judge them by the bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray

from patchcore_edge_runtime.display.record import Record
from patchcore_edge_runtime.errors import ConfigError, FrameError
from patchcore_edge_runtime.images.frame_check import check_frame
from patchcore_edge_runtime.images.geometry import Roi
from patchcore_edge_runtime.images.preprocess import crop_roi, preprocess
from patchcore_edge_runtime.inspection.ignore_mask import IgnoreMask
from patchcore_edge_runtime.inspection.result import InspectionResult, Timings
from patchcore_edge_runtime.inspection.rules import Judgement, LineRules, judge
from patchcore_edge_runtime.sources import Frame
from patchcore_edge_runtime.sources.files import ImageSource
from patchcore_edge_runtime.verdict import Verdict

from ..data import Batch, prediction_items
from ..fit.devices import resolve_device
from ..fit.embedder import Embedder
from ..runs.checkpoint import MODEL_FILE, load_calibrated

__all__ = ["RunInspector", "open_images"]


class RunInspector:
    """A calibrated run on torch: call it with a frame of a source, and it judges it as the line does.

    Args:
        run: folder that ``train`` wrote and ``calibrate`` completed.
        device: torch's name.

    Raises:
        CheckpointError: the folder is no checkpoint.
        ConfigError: it has no thresholds yet, or torch has no such device.
    """

    def __init__(self, run: Path, device: str = "auto") -> None:
        self._device = resolve_device(device)
        self._model, facts, calibration = load_calibrated(run)
        if calibration is None:
            raise ConfigError(f"{run} has no thresholds yet; run `patchcore-edge calibrate {run}` first.")
        self._model.to(self._device)
        self._embed = Embedder(self._model, 0)
        self._spec, self._sanity = self._model.pre_processor.spec, calibration.sanity
        masks = self._model.ignore_masks
        ignore = IgnoreMask(masks) if masks else None
        self._rules = LineRules(self._spec.roi, ignore, thresholds=calibration.thresholds, in_graph=masks)
        with (run / MODEL_FILE).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.model_id = f"{facts.name}@{digest[:12]}"

    def __call__(self, frame: Frame) -> Record:
        """Inspect one frame; whatever is wrong with it is the verdict ERROR."""
        image = frame.image
        size = (0, 0) if image is None else (int(image.shape[0]), int(image.shape[1]))
        roi = self._spec.roi or (0, 0, size[1], size[0])
        try:
            judged, model_map, timings = self._judged(frame, size, roi)
        except FrameError as error:
            judged, model_map, timings = Judgement(Verdict.ERROR, str(error), float("nan")), None, Timings()
        assert self._rules.thresholds is not None
        result = InspectionResult(
            verdict=judged.verdict,
            reason=judged.reason,
            pred_score=judged.score,
            thresholds=self._rules.thresholds,
            frame_size=size,
            roi=roi,
            timings=timings,
            model_id=self.model_id,
            preprocess=self._spec,
            model_map=None if judged.verdict is Verdict.ERROR else model_map,
            ignore=self._rules.ignore,
            frame_id=frame.index,
            time=frame.time,
            known_regions=judged.regions,
            frame=image,
        )
        return Record(frame, result)

    def _judged(self, frame: Frame, size: tuple[int, int], roi: Roi) -> tuple[Judgement, NDArray[np.float32], Timings]:
        if frame.image is None:
            raise FrameError(frame.error)
        moments = [perf_counter()]
        pixels = preprocess(frame.image, self._spec)
        moments.append(perf_counter())
        if reason := check_frame(pixels, crop_roi(frame.image, roi), self._sanity):
            raise FrameError(reason)
        moments.append(perf_counter())
        batch = Batch(torch.from_numpy(pixels[None]).to(self._device))
        scored = self._model.score_features(batch, self._embed(batch.image))
        assert scored.pred_score is not None
        assert scored.anomaly_map is not None
        model_map = scored.anomaly_map[0, 0].cpu().numpy()
        score = float(scored.pred_score[0])
        moments.append(perf_counter())
        judged = judge(score, model_map, self._rules, size, self._spec.seen_box(roi))
        moments.append(perf_counter())
        prepared, checked, inferred, decided = ((b - a) * 1e3 for a, b in pairwise(moments))
        return judged, model_map, Timings(prepared, inferred, checked, decided)


def open_images(images: Path, *, recursive: bool = True, leave_out: Sequence[Path] = ()) -> ImageSource:
    """The images of a folder, a list, shards, or one file, as a source.

    Raises:
        DataError: there are none.
    """
    items = prediction_items(images, recursive=recursive, leave_out=leave_out)
    return ImageSource([item.path for item in items], str(images))
