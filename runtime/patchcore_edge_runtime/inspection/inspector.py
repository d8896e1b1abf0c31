"""One frame in, one verdict out."""

from __future__ import annotations

import logging
import threading
import time as clock
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from time import perf_counter
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..bundle.bundle import Bundle
from ..bundle.lower_precision import AskedPrecision, InferencePrecision
from ..errors import ConfigError, FrameError
from ..images.frame_check import check_frame
from ..images.geometry import Roi
from ..images.preprocess import Image, crop_roi, preprocess
from ..logs import log_failure
from ..serving.settings import ServerSettings
from ..threads import describe_failure
from ..validation import one_of, require
from ..verdict import Thresholds, Verdict
from .backend import Backend
from .opened_backend import as_server, made_with_newer_tools, open_backend, open_bundle, open_served
from .openvino_backend import Hint
from .result import InspectionResult, Timings
from .rules import Judgement, LineRules, judge
from .self_test import self_test
from .shared_models import SharedModels

__all__ = ["Inspector"]

_LOG = logging.getLogger(__name__)


class Inspector:
    """A bundle on a device, checked and ready: call it with a frame.

    Args:
        bundle: folder that ``patchcore-edge export`` wrote, or a model on a server as ``server`` takes it; manifest and
            golden images then come from there too.
        device: as OpenVINO names it: CPU, GPU, NPU, AUTO; in capitals or not.
        hint: what the device is tuned for.
        cache_dir: where OpenVINO may keep the compiled model; makes the next start faster.
        roi: the part of each frame to inspect, as x, y, width, height; the bundle's, or the whole frame, when absent.
        thresholds: limits to use in place of the bundle's.
        rules: all that a line may ask for, in place of ``roi`` and ``thresholds``.
        inference_num_threads: for the CPU only, as ``OpenVINOBackend`` takes it.
        inference_precision: one that the bundle was verified for, or the fastest of those that pass the self-test here.
        backend: what runs the graph; OpenVINO on ``device``, by the arguments above, when absent.
        models: that other inspectors use as well, in other threads; they have their own ``hint``.
        server: a model server that runs it, as ``grpc://HOST:PORT/MODEL`` or ``http://HOST:PORT/MODEL``.

    Attributes:
        golden_deviation: largest relative deviation from the bundle's golden scores on this device.

    Raises:
        BundleError: the bundle is incomplete or was changed.
        ParityError: this device does not reproduce the bundle's golden scores.
        DeviceError: the device or the server is not there or refuses the model.
        ConfigError: an argument is not what it should be, or a region of interest is one in which the model's ignore
            masks would lie elsewhere.
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
        inference_precision: AskedPrecision = "auto",
        backend: Backend | None = None,
        models: SharedModels | None = None,
        server: str | ServerSettings | None = None,
    ) -> None:
        require("bundle", bundle, (str, Path, Bundle), "the folder that `patchcore-edge export` wrote")
        require("device", device, str, "a device as OpenVINO names it, such as 'CPU'")
        one_of("hint", hint, ("latency", "throughput"))
        one_of("inference_precision", inference_precision, get_args(AskedPrecision))
        require("cache_dir", cache_dir, (str, Path, type(None)), "a folder")
        require("inference_num_threads", inference_num_threads, (int, type(None)), "a number of cores")
        if inference_num_threads is not None and inference_num_threads < 1:
            raise ConfigError(f"inference_num_threads is {inference_num_threads}; give 1 or more.")
        require("rules", rules, (LineRules, type(None)), "LineRules")
        if rules is not None and not (roi is None and thresholds is None):
            raise ConfigError("rules have a roi and thresholds of their own; give those there, or leave rules out.")
        asked = rules or LineRules(roi=roi, thresholds=thresholds)
        served = as_server(bundle, server)
        self.bundle = open_bundle(bundle, served)
        self.manifest = self.bundle.manifest
        self.device = device.upper()
        self.rules = asked.completed(self.manifest)
        for sentence in asked.unlike_the_fit(self.manifest):
            _LOG.warning(sentence)
        self._seen_deep = self.manifest.preprocess.bit_depth is not None
        if served is None and (sentence := made_with_newer_tools(self.manifest)):
            _LOG.warning(sentence)
        own = cache_dir, inference_num_threads, inference_precision
        self._backend, self.golden_deviation = self._opened(served, backend, models, hint, own)
        # Frames are written where inference reads them, which two threads must not do at the same time.
        self._calls = threading.Lock()
        self._numbers = count()
        self._last_failure = ""
        self._model_id = self.manifest.model_id

    def _opened(
        self,
        served: ServerSettings | None,
        backend: Backend | None,
        models: SharedModels | None,
        hint: Hint,
        own: tuple[Path | None, int | None, AskedPrecision],
    ) -> tuple[Backend, float]:
        """What runs the graph, past its self-test, and the largest relative deviation from a golden score there."""
        if served is not None:
            if backend is not None:
                raise ConfigError("A backend and a server are given; give the one that is to run the graph.")
            return open_served(self.bundle, served, self.device, *own)
        if backend is not None:
            return backend, self_test(self.bundle, backend, self.device)
        if models is not None:
            return models.open(self.bundle, self.device, *own)
        cache_dir, threads, precision = own
        return open_backend(self.bundle, self.device, hint, cache_dir, threads, None, precision)

    @property
    def thresholds(self) -> Thresholds:
        """The limits that frames are judged by; may be set at any time, from any thread, for the next frame on."""
        assert self.rules.thresholds is not None  # LineRules.completed
        return self.rules.thresholds

    @thresholds.setter
    def thresholds(self, limits: Thresholds) -> None:
        self.rules = replace(self.rules, thresholds=limits)

    @property
    def largest_frame(self) -> int | None:
        """Pixels of the largest frame that gets another verdict than ERROR; None where the bundle does not say."""
        limits = self.manifest.sanity if self.rules.check_sanity else None
        # Its limits are for what is inspected; around a region of interest there may be more.
        return None if limits is None or self.rules.roi is not None else limits.max_height * limits.max_width

    @property
    def inference_precision(self) -> InferencePrecision:
        """What the graph is computed in; float32 where a backend does not say."""
        found: InferencePrecision = getattr(self._backend, "inference_precision", "f32")
        return found

    @property
    def execution_devices(self) -> list[str]:
        """The devices that do the work; what AUTO has chosen."""
        return self._backend.execution_devices

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
        # Read once: a key may change the thresholds at any moment, and a result states those that it was judged by.
        rules = self.rules
        size = _size(frame)
        roi = rules.roi or (0, 0, size[1], size[0])
        model_map: NDArray[np.float32] | None = None
        moments: list[float] = []
        try:
            with self._calls:
                moments.append(perf_counter())
                image = self._prepare(frame, roi, rules, moments)
                score, model_map = self._infer(image)
            moments.append(perf_counter())
            judged = judge(score, model_map, rules, size, self.manifest.preprocess.seen_box(roi))
        except FrameError as error:
            judged = _failed(str(error))
        except Exception as error:  # noqa: BLE001 - such as memory that ran out: no verdict, and the line goes on
            judged = self._unforeseen(error)
        moments.append(perf_counter())
        return self._result(judged, rules, size, roi, _timings(moments), model_map, frame_id, time, frame)

    def error_result(
        self,
        reason: str,
        frame_size: tuple[int, int] = (0, 0),
        *,
        frame_id: int | None = None,
        time: float | None = None,
    ) -> InspectionResult:
        """The result for a frame that could not be had or could not be scored."""
        rules = self.rules
        roi = rules.roi or (0, 0, frame_size[1], frame_size[0])
        return self._result(_failed(reason), rules, frame_size, roi, Timings(), None, frame_id, time)

    def _prepare(self, frame: NDArray[Any], roi: Roi, rules: LineRules, moments: list[float]) -> Image:
        """Write a frame straight into the memory that inference reads, and look at it there; raises ``FrameError``."""
        images = self._backend.images
        self._warn_of_unknown_depth(frame)
        image = preprocess(frame, self.manifest.preprocess.looking_at(rules.roi), images[0])
        images[1:] = image  # the rest of a static batch, whose results nobody reads
        moments.append(perf_counter())
        reason = check_frame(image, crop_roi(frame, roi), self.manifest.sanity if rules.check_sanity else None)
        if reason:
            raise FrameError(reason)
        moments.append(perf_counter())
        return images

    def _infer(self, images: Image) -> tuple[float, NDArray[np.float32]]:
        """The first image's score and map; raises ``FrameError``."""
        try:
            scores, maps = self._backend.infer(images)
        except RuntimeError as error:
            why = (str(error).splitlines() or ["it does not say why"])[0]
            raise FrameError(f"Inference failed: {why}") from None
        return float(scores[0]), maps[0, 0].copy()

    def _result(
        self,
        judged: Judgement,
        rules: LineRules,
        frame_size: tuple[int, int],
        roi: Roi,
        timings: Timings,
        model_map: NDArray[np.float32] | None,
        frame_id: int | None,
        time: float | None,
        frame: object = None,
    ) -> InspectionResult:
        number = next(self._numbers)
        assert rules.thresholds is not None
        return InspectionResult(
            verdict=judged.verdict,
            reason=judged.reason,
            pred_score=judged.score,
            thresholds=rules.thresholds,
            frame_size=frame_size,
            roi=roi,
            timings=timings,
            model_id=self._model_id,
            manifest=self.bundle.digest,
            preprocess=self.manifest.preprocess,
            model_map=None if judged.verdict is Verdict.ERROR else model_map,
            ignore=rules.ignore,
            min_defect_area=rules.min_defect_area,
            frame_id=number if frame_id is None else frame_id,
            time=clock.time() if time is None else time,
            labels=self.manifest.labels,
            known_regions=judged.regions,
            frame=frame if isinstance(frame, np.ndarray) else None,
        )

    def _warn_of_unknown_depth(self, frame: NDArray[Any]) -> None:
        if not self._seen_deep and isinstance(frame, np.ndarray) and frame.dtype == np.uint16:
            self._seen_deep = True
            _LOG.warning(
                "Frames of 16 bits come to %s, which was fitted on 8 bits: 65,535 is taken for white. Fit with "
                "--bit-depth where the camera uses fewer bits.",
                self.manifest.model_id,
            )

    def _unforeseen(self, error: Exception) -> Judgement:
        reason = f"The frame could not be inspected ({describe_failure(error)})."
        if reason != self._last_failure:  # once, and not with every frame
            self._last_failure = reason
            log_failure(_LOG, reason, error)
        return _failed(reason)


def _size(frame: object) -> tuple[int, int]:
    """Height and width; zeros of what is no picture."""
    if isinstance(frame, np.ndarray) and frame.ndim >= 2:
        return int(frame.shape[0]), int(frame.shape[1])
    return 0, 0


def _failed(reason: str) -> Judgement:
    return Judgement(Verdict.ERROR, reason, float("nan"))


def _timings(moments: list[float]) -> Timings:
    """From the moments between stages; those that were not reached took no time."""
    lasted = [(after - before) * 1e3 for before, after in pairwise(moments)]
    preprocess_ms, sanity_ms, inference_ms, judge_ms = [*lasted, 0.0, 0.0, 0.0][:4]
    return Timings(preprocess_ms, inference_ms, sanity_ms, judge_ms)
