"""One frame in, one verdict out."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from .bundle import Bundle
from .errors import DeviceError, FrameError, ParityError
from .preprocess import Image, preprocess
from .result import InspectionResult, Roi, Timings
from .verdict import Thresholds, Verdict

__all__ = ["Hint", "Inspector", "available_devices"]

Hint = Literal["latency", "throughput"]


def available_devices() -> dict[str, str]:
    """OpenVINO's device names on this machine, each with its full name."""
    core = ov.Core()
    return {name: str(core.get_property(name, "FULL_DEVICE_NAME")) for name in core.available_devices}


class CompiledGraph:
    """A bundle's graph on one device: uint8 BGR pixels in, raw score and map out."""

    def __init__(self, model_xml: Path, device: str, hint: Hint, cache_dir: Path | None = None) -> None:
        core = ov.Core()
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": hint.upper(),
            # Left alone, hosts with AMX compute in bf16 and GPUs in f16: map errors of 1e-2 (DESIGN section 4).
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if cache_dir is not None:
            config["CACHE_DIR"] = str(cache_dir)
        base = device.split(":", maxsplit=1)[0].split(".", maxsplit=1)[0]
        present = core.available_devices
        if base not in ("AUTO", "MULTI", "HETERO") and not any(name.split(".")[0] == base for name in present):
            raise DeviceError(f"There is no device {device!r} here; OpenVINO finds {', '.join(present) or 'none'}.")
        try:
            self.compiled = core.compile_model(str(model_xml), device, config)
        except RuntimeError as error:
            first_line = str(error).strip().splitlines()[-1]
            raise DeviceError(f"{device} does not take the model ({first_line}); try -d CPU.") from error
        self._request = self.compiled.create_infer_request()

    def infer(self, images: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Score a batch.

        Args:
            images: ``[N,H,W,3]`` uint8 BGR of the graph's static shape, C-contiguous.

        Returns:
            raw scores ``[N]`` and raw maps ``[N,1,H,W]``, float32, valid until the next call.
        """
        self._request.infer({"frame": images}, share_inputs=True)
        score = self._request.get_tensor("pred_score").data
        return score, self._request.get_tensor("anomaly_map").data


class Inspector:
    """A bundle on a device, checked and ready: call it with a frame.

    Args:
        bundle: folder that ``patchcore-edge export`` wrote.
        device: as OpenVINO names it: CPU, GPU, NPU, AUTO.
        hint: what the device is tuned for.
        cache_dir: where OpenVINO may keep the compiled model; makes the next start faster.
        roi: the part of each frame to inspect, as x, y, width, height; the whole frame when absent.
        thresholds: limits to use in place of the bundle's.

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
    ) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
        self.manifest = self.bundle.manifest
        self.device = device
        self.roi = roi
        self.thresholds = thresholds or self.manifest.thresholds
        self._graph = CompiledGraph(self.bundle.model_xml, device, hint, cache_dir)
        self.golden_deviation = self._self_test()

    def __call__(self, frame: NDArray[Any]) -> InspectionResult:
        """Inspect one frame.

        Args:
            frame: HxWx3 BGR, HxW grey or HxWx4 BGRA, uint8 or uint16.

        Returns:
            the result; never raises for a bad frame, whose verdict is ERROR with the reason.
        """
        start = perf_counter()
        size = frame.shape[:2] if frame.ndim >= 2 else (0, 0)
        roi = self.roi or (0, 0, size[1], size[0])
        try:
            image = preprocess(_cut(frame, roi), self.manifest.preprocess)
        except FrameError as error:
            return self.error(str(error), (int(size[0]), int(size[1])))
        prepared = perf_counter()
        try:
            scores, maps = self._graph.infer(np.repeat(image[None], self.manifest.batch, axis=0))
        except RuntimeError as error:
            return self.error(f"Inference failed: {str(error).splitlines()[0]}", size)
        score, model_map = float(scores[0]), maps[0, 0].copy()
        timings = Timings((prepared - start) * 1e3, (perf_counter() - prepared) * 1e3)
        verdict = self.thresholds.judge(score)
        reason = "The model's score is not a finite number." if verdict is Verdict.ERROR else ""
        return self._result(verdict, reason, score, size, roi, timings, model_map)

    def error(self, reason: str, frame_size: tuple[int, int] = (0, 0)) -> InspectionResult:
        """The result for a frame that could not be had or could not be scored."""
        roi = self.roi or (0, 0, frame_size[1], frame_size[0])
        return self._result(Verdict.ERROR, reason, float("nan"), frame_size, roi, Timings(), None)

    def _result(
        self,
        verdict: Verdict,
        reason: str,
        score: float,
        frame_size: tuple[int, int],
        roi: Roi,
        timings: Timings,
        model_map: NDArray[np.float32] | None,
    ) -> InspectionResult:
        return InspectionResult(
            verdict=verdict,
            reason=reason,
            pred_score=score,
            thresholds=self.thresholds,
            frame_size=frame_size,
            roi=roi,
            timings=timings,
            model_id=self.manifest.model_id,
            preprocess=self.manifest.preprocess,
            model_map=model_map,
        )

    def _self_test(self) -> float:
        """Score the golden images on this very device; also warms it up."""
        worst = 0.0
        for golden in self.manifest.golden:
            image = self.bundle.golden_image(golden)
            score = float(self._graph.infer(np.repeat(image[None], self.manifest.batch, axis=0))[0][0])
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


def _cut(frame: NDArray[Any], roi: Roi) -> NDArray[Any]:
    if frame.ndim < 2:
        return frame  # preprocess says what is wrong with it
    x, y, width, height = roi
    if x < 0 or y < 0 or y + height > frame.shape[0] or x + width > frame.shape[1]:
        raise FrameError(
            f"The region of interest {x},{y},{width},{height} does not fit a frame of "
            f"{frame.shape[1]}x{frame.shape[0]} pixels; give one that does."
        )
    return frame[y : y + height, x : x + width]
