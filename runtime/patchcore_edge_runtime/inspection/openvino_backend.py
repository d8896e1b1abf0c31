"""A bundle's graph on an OpenVINO device."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from ..errors import ConfigError, DeviceError
from ..images.preprocess import Image

__all__ = ["Hint", "InferenceSlot", "OpenVINOBackend", "available_devices"]

Hint = Literal["latency", "throughput"]
_COMPOSED = ("AUTO", "MULTI", "HETERO")


def available_devices() -> dict[str, str]:
    """OpenVINO's device names on this machine, each with its full name."""
    core = ov.Core()
    return {name: str(core.get_property(name, "FULL_DEVICE_NAME")) for name in core.available_devices}


class InferenceSlot:
    """One infer request: one batch at a time, in the background or waited for.

    Attributes:
        images: ``[N,H,W,3]`` uint8, the memory that inference reads: to be written before ``infer`` or ``start``, and
            left alone until that is over.
    """

    def __init__(self, request: Any) -> None:
        self._request = request
        # Held, because the array is a view of the tensor's memory.
        self._input = request.get_tensor("frame")
        self.images: Image = self._input.data

    def infer(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Score ``images``; returns as ``wait`` does."""
        self._request.infer()
        return self._results()

    def start(self) -> None:
        """Start on ``images``."""
        self._request.start_async()

    @property
    def is_done(self) -> bool:
        """Whether ``wait`` would return at once."""
        return bool(self._request.wait_for(0))

    def wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores ``[N]`` and maps ``[N,1,H,W]``, valid until the next ``start``; raises ``RuntimeError``."""
        self._request.wait()
        return self._results()

    def _results(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._request.get_tensor("pred_score").data, self._request.get_tensor("anomaly_map").data


class OpenVINOBackend:
    """A bundle's graph on one device: uint8 BGR pixels in, raw score and map out.

    Args:
        model_xml: the IR.
        device: as OpenVINO names it.
        hint: what the device is tuned for.
        cache_dir: where OpenVINO may keep the compiled model.
        inference_num_threads: OpenVINO's ``INFERENCE_NUM_THREADS``, for several lines on one CPU; all cores when
            absent. Threads are then not pinned: each process would pin its own to the same first cores.

    Attributes:
        slot: the request for one frame at a time.

    Raises:
        DeviceError: the device is not there or refuses the model.
        ConfigError: ``cache_dir`` cannot be written, or threads are asked for on another device than the CPU.
    """

    def __init__(
        self,
        model_xml: Path,
        device: str,
        hint: Hint,
        cache_dir: Path | None = None,
        inference_num_threads: int | None = None,
    ) -> None:
        core = ov.Core()
        # Mapped weights would change under the model when someone copies a new bundle over the old one's files.
        core.set_property({"ENABLE_MMAP": False})
        base = device.split(":", maxsplit=1)[0].split(".", maxsplit=1)[0]
        present = core.available_devices
        if base not in _COMPOSED and not any(name.split(".")[0] == base for name in present):
            raise DeviceError(f"There is no device {device!r} here; OpenVINO finds {', '.join(present) or 'none'}.")
        config = _config(base, hint, cache_dir) | _threads(base, inference_num_threads)
        try:
            self.compiled = core.compile_model(str(model_xml), device, config)
        except RuntimeError as error:
            first_line = str(error).strip().splitlines()[-1]
            raise DeviceError(f"{device} does not take the model ({first_line}); try -d CPU.") from error
        self.slot = self.new_slot()

    @property
    def execution_devices(self) -> list[str]:
        """The devices that do the work, which AUTO chooses by itself."""
        devices = self.compiled.get_property("EXECUTION_DEVICES")
        return [devices] if isinstance(devices, str) else [str(device) for device in devices]

    @property
    def optimal_requests(self) -> int:
        """How many requests in flight keep the device busy under its hint."""
        return max(1, int(self.compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))

    def new_slot(self) -> InferenceSlot:
        """A request that runs beside the others."""
        return InferenceSlot(self.compiled.create_infer_request())

    def infer(self, images: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Score a batch.

        Args:
            images: ``[N,H,W,3]`` uint8 BGR of the graph's static shape, or ``[1,H,W,3]`` to fill it with one image.

        Returns:
            raw scores ``[N]`` and raw maps ``[N,1,H,W]``, float32, valid until the next call.
        """
        self.slot.images[...] = images
        return self.slot.infer()


def _threads(base: str, number: int | None) -> dict[str, Any]:
    if number is None:
        return {}
    if base != "CPU":
        raise ConfigError(f"inference_num_threads is for the CPU and not for {base}; leave it out.")
    return {"INFERENCE_NUM_THREADS": number, "ENABLE_CPU_PINNING": False}


def _config(base: str, hint: Hint, cache_dir: Path | None) -> dict[str, Any]:
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": hint.upper(),
        # Left alone, hosts with AMX compute in bf16 and GPUs in f16: map errors of 1e-2 (DESIGN section 4).
        "INFERENCE_PRECISION_HINT": "f32",
    }
    if base == "AUTO":
        # Or AUTO passes the self-test on the CPU while another device compiles, and moves there afterwards.
        config |= {"ENABLE_STARTUP_FALLBACK": False, "ENABLE_RUNTIME_FALLBACK": False}
    if cache_dir is not None:
        try:
            Path(cache_dir).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{cache_dir} cannot be written ({error.strerror}); choose another cache_dir.") from None
        config["CACHE_DIR"] = str(cache_dir)
    return config
