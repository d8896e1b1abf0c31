"""One frame in, one verdict out."""

from __future__ import annotations

import logging
import threading
import time as clock
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from ..bundle.bundle import Bundle
from ..errors import FrameError, ParityError
from ..images.frame_check import FrameLimits, measure
from ..images.preprocess import Image, preprocess
from ..verdict import Thresholds, Verdict
from .openvino_backend import Hint, InferenceSlot, OpenVINOBackend, available_devices
from .regions import IgnoreMask
from .result import InspectionResult, Roi, Timings
from .rules import LineRules, cut, forgive_small, visible_score

__all__ = ["Hint", "Inspector", "LineRules", "OpenVINOBackend", "available_devices"]

_LOG = logging.getLogger(__name__)
_FLAT = "The frame is one flat colour; check the camera and its cable."


@dataclass
class _Job:
    """A frame on its way through the inspector."""

    frame_id: int
    time: float
    frame_size: tuple[int, int]
    roi: Roi
    ready: bool = False
    reason: str = ""
    preprocess_ms: float = 0.0
    sanity_ms: float = 0.0
    started: float = 0.0
    slot: InferenceSlot | None = None


class Inspector:
    """A bundle on a device, checked and ready: call it with a frame.

    Args:
        bundle: folder that ``patchcore-edge export`` wrote.
        device: as OpenVINO names it: CPU, GPU, NPU, AUTO.
        hint: what the device is tuned for.
        cache_dir: where OpenVINO may keep the compiled model; makes the next start faster.
        roi: the part of each frame to inspect, as x, y, width, height; the whole frame when absent.
        thresholds: limits to use in place of the bundle's.
        rules: all that a line may ask for, in place of ``roi`` and ``thresholds``.
        inference_num_threads: for the CPU only, as ``OpenVINOBackend`` takes it.

    Raises:
        BundleError: the bundle is incomplete or was changed.
        ParityError: this device does not reproduce the bundle's golden scores.
        DeviceError: the device is not there or refuses the model.
    """

    def __init__(
        self,
        bundle: str | Path | Bundle,
        device: str = "CPU",
        *,
        hint: Hint = "latency",
        cache_dir: Path | None = None,
        roi: Roi | None = None,
        thresholds: Thresholds | None = None,
        rules: LineRules | None = None,
        inference_num_threads: int | None = None,
    ) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
        self.manifest = self.bundle.manifest
        self.device = device
        rules = rules or LineRules(roi=roi, thresholds=thresholds)
        masks = self.manifest.ignore_masks
        self.rules = replace(rules, ignore=IgnoreMask(masks)) if masks and rules.ignore is None else rules
        self.roi = self.rules.roi
        self.thresholds = self.rules.thresholds or self.manifest.thresholds
        self._limits: FrameLimits | None = self.manifest.sanity if self.rules.check_sanity else None
        self._warn_of_old_tools()
        self._graph = OpenVINOBackend(self.bundle.model_xml, device, hint, cache_dir, inference_num_threads)
        self.depth = self._graph.optimal_requests
        # Frames are written where inference reads them, which two threads must not do at the same time.
        self._calls = threading.Lock()
        self._free: list[InferenceSlot] = []
        self._pending: deque[_Job] = deque()
        self._count = 0
        self.golden_deviation = self._self_test()

    def __call__(
        self, frame: NDArray[Any], *, frame_id: int | None = None, time: float | None = None
    ) -> InspectionResult:
        """Inspect one frame.

        Args:
            frame: HxWx3 BGR, HxW grey or HxWx4 BGRA, uint8 or uint16.
            frame_id: number of the frame; counted when absent.
            time: seconds since the epoch at capture; now when absent.

        Returns:
            the result; never raises for a bad frame, whose verdict is ERROR with the reason.
        """
        with self._calls:
            job = self._prepare(frame, self._graph.slot, frame_id, time)
            if not job.ready:
                return self._failed(job)
            try:
                scores, maps = self._graph.slot.infer()
            except RuntimeError as error:
                return self._failed(job, error)
            return self._judge(job, float(scores[0]), maps[0, 0].copy())

    @property
    def execution_devices(self) -> list[str]:
        """The devices that do the work; what AUTO has chosen."""
        return self._graph.execution_devices

    def submit(self, frame: NDArray[Any], *, frame_id: int | None = None, time: float | None = None) -> bool:
        """Start on a frame and return; its result comes from ``results``, in the order of the frames.

        Frames may be changed by their owner once this returns. From one thread only.

        Returns:
            False, and nothing was started, when ``depth`` results wait to be collected.
        """
        if len(self._pending) >= self.depth:
            return False
        slot = self._free.pop() if self._free else self._graph.new_slot()
        job = self._prepare(frame, slot, frame_id, time)
        if job.ready:
            job.slot = slot
            slot.start()
        else:
            self._free.append(slot)
        self._pending.append(job)
        return True

    def results(self, *, wait: bool = False) -> Iterator[InspectionResult]:
        """The results that are there, oldest first; with ``wait``, those of all frames in flight."""
        while self._pending:
            job = self._pending[0]
            if job.slot is not None and not wait and not job.slot.is_done:
                return
            yield self.next_result()

    def next_result(self) -> InspectionResult:
        """Wait for the result of the oldest frame in flight; raises ``IndexError`` when there is none."""
        return self._collect(self._pending.popleft())

    def error_result(
        self,
        reason: str,
        frame_size: tuple[int, int] = (0, 0),
        *,
        frame_id: int | None = None,
        time: float | None = None,
    ) -> InspectionResult:
        """The result for a frame that could not be had or could not be scored."""
        job = self._new_job(frame_size, frame_id, time)
        job.reason = reason
        return self._failed(job)

    def _new_job(self, frame_size: tuple[int, int], frame_id: int | None, time: float | None) -> _Job:
        roi = self.roi or (0, 0, frame_size[1], frame_size[0])
        job = _Job(
            self._count if frame_id is None else frame_id, clock.time() if time is None else time, frame_size, roi
        )
        self._count += 1
        return job

    def _prepare(self, frame: NDArray[Any], slot: InferenceSlot, frame_id: int | None, time: float | None) -> _Job:
        """Write a frame straight into the memory that inference reads, and look at it there."""
        start = perf_counter()
        if not isinstance(frame, np.ndarray):
            frame = np.zeros(0, np.object_)  # preprocess says what is wrong with it
        size = (int(frame.shape[0]), int(frame.shape[1])) if frame.ndim >= 2 else (0, 0)
        job = self._new_job(size, frame_id, time)
        try:
            image = preprocess(cut(frame, job.roi), self.manifest.preprocess, slot.images[0])
        except FrameError as error:
            job.reason = str(error)
            return job
        prepared = perf_counter()
        job.reason = self._sanity_reason(image, job)
        job.started = perf_counter()
        job.preprocess_ms, job.sanity_ms = (prepared - start) * 1e3, (job.started - prepared) * 1e3
        job.ready = not job.reason
        slot.images[1:] = image  # the rest of a static batch, whose results nobody reads
        return job

    def _sanity_reason(self, image: Image, job: _Job) -> str:
        if self.rules.ignore is not None and self._hidden(job, image.shape[:2]).all():
            return "The ignore masks leave nothing of the frame to inspect; make them smaller."
        if self._limits is not None:
            reason = self._limits.reason(measure(image, (job.roi[3], job.roi[2])))
            if reason:
                return reason
        return _FLAT if image.min() == image.max() else ""

    def _hidden(self, job: _Job, map_size: tuple[int, ...]) -> NDArray[np.bool_]:
        assert self.rules.ignore is not None
        x, y, width, height = job.roi
        inner_x, inner_y, inner_width, inner_height = self.manifest.preprocess.crop_box(height, width)
        box = (x + inner_x, y + inner_y, inner_width, inner_height)
        return self.rules.ignore.hidden_cells(job.frame_size, box, (map_size[0], map_size[1]))

    def _collect(self, job: _Job) -> InspectionResult:
        if job.slot is None:
            return self._failed(job)
        try:
            scores, maps = job.slot.wait()
            result = self._judge(job, float(scores[0]), maps[0, 0].copy())
        except RuntimeError as error:
            result = self._failed(job, error)
        self._free.append(job.slot)
        return result

    def _judge(self, job: _Job, score: float, model_map: NDArray[np.float32]) -> InspectionResult:
        inferred = perf_counter()
        if self.rules.ignore is not None:
            score = visible_score(score, model_map, self._hidden(job, model_map.shape), self.thresholds)
        verdict = self.thresholds.judge(score)
        reason = "The model's score is not a finite number." if verdict is Verdict.ERROR else ""
        result = self._result(job, verdict, reason, score, model_map)
        if verdict is Verdict.NG and self.rules.min_defect_area > 1:
            result = forgive_small(result)
        timings = Timings(
            job.preprocess_ms, (inferred - job.started) * 1e3, job.sanity_ms, (perf_counter() - inferred) * 1e3
        )
        return replace(result, timings=timings)

    def _failed(self, job: _Job, error: RuntimeError | None = None) -> InspectionResult:
        reason = job.reason if error is None else f"Inference failed: {str(error).splitlines()[0]}"
        return self._result(job, Verdict.ERROR, reason, float("nan"), None)

    def _result(
        self, job: _Job, verdict: Verdict, reason: str, score: float, model_map: NDArray[np.float32] | None
    ) -> InspectionResult:
        return InspectionResult(
            verdict=verdict,
            reason=reason,
            pred_score=score,
            thresholds=self.thresholds,
            frame_size=job.frame_size,
            roi=job.roi,
            timings=Timings(job.preprocess_ms, 0.0, job.sanity_ms),
            model_id=self.manifest.model_id,
            preprocess=self.manifest.preprocess,
            model_map=model_map,
            ignore=self.rules.ignore,
            min_defect_area=self.rules.min_defect_area,
            labels=self.manifest.labels,
            frame_id=job.frame_id,
            time=job.time,
        )

    def _warn_of_old_tools(self) -> None:
        made_with = self.manifest.tools.get("openvino", "")
        if _release(made_with) > _release(ov.__version__):
            _LOG.warning(
                "this machine's OpenVINO %s is older than %s, which exported %s; update it if the self-test fails.",
                ov.__version__,
                made_with,
                self.manifest.model_id,
            )

    def _self_test(self) -> float:
        """Score the golden images on this very device; also warms it up."""
        worst = 0.0
        for golden in self.manifest.golden:
            image = self.bundle.golden_image(golden)
            score = float(self._graph.infer(image[None])[0][0])
            deviation = abs(score - golden.pred_score) / abs(golden.pred_score)
            # Written so that NaN fails.
            if not deviation <= golden.tolerance:
                raise ParityError(
                    f"{self.device} scores {golden.file} {score:.6g} where the fitted model gives "
                    f"{golden.pred_score:.6g} (allowed deviation {golden.tolerance:.1e}); "
                    "use another device or export a bundle that is verified for this one."
                )
            worst = max(worst, deviation)
        return worst


def _release(version: str) -> tuple[int, int]:
    """Year and number of an OpenVINO version such as ``2026.4.0-19000``; zeros where it has none."""
    parts = version.split(".")[:2]
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 and all(part.isdecimal() for part in parts) else (0, 0)
