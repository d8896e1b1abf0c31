"""A bundle's graph on an OpenVINO device."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..bundle.lower_precision import InferencePrecision
from ..errors import BundleError, ConfigError, DeviceError, cannot_write
from ..images.preprocess import Image
from .backend import FRAME, MAP, SCORE
from .graph_indices import check_indices
from .graph_interface import check_graph
from .graph_memory import check_memory
from .missing_devices import ACCELERATORS, why_missing

__all__ = ["Hint", "OpenVINOBackend", "available_devices", "made_for", "openvino_version"]

Hint = Literal["latency", "throughput"]
_COMPOSED = ("AUTO", "MULTI", "HETERO")
_CAPABILITIES: dict[str, InferencePrecision] = {"BF16": "bf16", "FP16": "f16"}


def _openvino() -> Any:
    """OpenVINO, imported when something is computed and not before: what needs no inference does not wait for it."""
    import openvino

    return openvino


def openvino_version() -> str:
    """Of this machine, such as ``2026.4.0-19000``."""
    return str(_openvino().__version__)


def available_devices() -> dict[str, str]:
    """OpenVINO's device names on this machine, each with its full name."""
    core = _openvino().Core()
    return {name: str(core.get_property(name, "FULL_DEVICE_NAME")) for name in core.available_devices}


def made_for(device: str) -> frozenset[InferencePrecision]:
    """The precisions that a device computes fast in, float32 among them.

    Those that gather devices (AUTO, MULTI, HETERO) and those that are not there compute in float32 alone.
    """
    try:
        found = _openvino().Core().get_property(device, "OPTIMIZATION_CAPABILITIES")
    except RuntimeError:
        found = []
    composed = device.split(":", maxsplit=1)[0] in _COMPOSED
    return frozenset({"f32", *(_CAPABILITIES[name] for name in found if name in _CAPABILITIES and not composed)})


class OpenVINOBackend:
    """A bundle's graph on one device, a ``Backend``.

    Args:
        model_xml: the IR.
        device: as OpenVINO names it, in capitals or not.
        hint: what the device is tuned for: one frame at a time, or several backends side by side (``sibling``).
        cache_dir: where OpenVINO may keep the compiled model.
        inference_num_threads: OpenVINO's ``INFERENCE_NUM_THREADS``, for several lines on one CPU; all cores when
            absent. Threads are then not pinned: each process would pin its own to the same first cores.
        requests: how many backends there will be side by side, which share the device's threads as streams; as many
            as the device likes when absent.
        inference_precision: what the backbone is computed in; the search is marked in the graph to stay in float32.

    Attributes:
        compiled: OpenVINO's compiled model.
        inference_precision: as asked for.

    Raises:
        BundleError: the IR cannot be read, or is no export's.
        DeviceError: the device is not there, refuses the model, has not the memory for it, or takes another precision
            than it was asked for.
        ConfigError: ``cache_dir`` cannot be written, or threads are asked for on another device than the CPU.
    """

    def __init__(
        self,
        model_xml: Path,
        device: str,
        hint: Hint = "latency",
        cache_dir: Path | None = None,
        inference_num_threads: int | None = None,
        requests: int | None = None,
        inference_precision: InferencePrecision = "f32",
    ) -> None:
        core, device = _openvino().Core(), device.upper()
        # Mapped weights would change under the model when someone copies a new bundle over the old one's files.
        core.set_property({"ENABLE_MMAP": False})
        base = device.split(":", maxsplit=1)[0].split(".", maxsplit=1)[0]
        present = core.available_devices
        if base not in _COMPOSED and not any(name.split(".")[0] == base for name in present):
            why = f" ({'; '.join(why_missing(base))})" if base in ACCELERATORS else ""
            known = ", ".join(present) or "none"
            raise DeviceError(f"There is no device {device!r} here{why}; OpenVINO finds {known}.")
        config = _config(base, hint, cache_dir, inference_precision) | _threads(base, inference_num_threads)
        if requests is not None:
            config["PERFORMANCE_HINT_NUM_REQUESTS"] = requests
        try:
            model = core.read_model(str(model_xml))
        except RuntimeError as error:
            raise BundleError(f"{model_xml.name} cannot be read ({_last(error)}); export the bundle again.") from error
        check_graph(model, model_xml.name)
        check_memory(model, model_xml.name)
        check_indices(model, model_xml.name)
        try:
            self.compiled = core.compile_model(model, device, config)
        except RuntimeError as error:
            raise DeviceError(f"{device} does not take the model ({_last(error)}); try -d CPU.") from error
        self.inference_precision: InferencePrecision = inference_precision
        if inference_precision != "f32":
            self._check_precision(device)
        self._open_request()

    def _check_precision(self, device: str) -> None:
        """A hint is what its name says: a CPU that is asked for f16 may compute in bf16, and say so afterwards."""
        taken = str(self.compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
        if taken != self.inference_precision:
            raise DeviceError(
                f"{device} computes in {taken} when asked for {self.inference_precision}; leave it at f32."
            )

    def _open_request(self) -> None:
        self._request = self.compiled.create_infer_request()
        # Held, because the array is a view of the tensor's memory.
        self._input = self._request.get_tensor(FRAME)
        self._images: Image = self._input.data

    @property
    def images(self) -> Image:
        """``[N,H,W,3]`` uint8, the memory that inference reads; to be left alone while ``infer`` runs."""
        return self._images

    @property
    def execution_devices(self) -> list[str]:
        """The devices that do the work, which AUTO chooses by itself."""
        devices = self.compiled.get_property("EXECUTION_DEVICES")
        return [devices] if isinstance(devices, str) else [str(device) for device in devices]

    @property
    def optimal_requests(self) -> int:
        """How many siblings in flight, this one included, keep the device busy under its hint."""
        return max(1, int(self.compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))

    def sibling(self) -> OpenVINOBackend:
        """The same compiled model with memory of its own, to run in another thread at the same time."""
        other = copy(self)
        other._open_request()
        return other

    def cancel(self) -> None:
        """Give up the inference that another thread waits for, which then raises ``RuntimeError``."""
        self._request.cancel()

    def infer(self, images: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Score a batch, as ``Backend`` says."""
        if images is not self._images:
            self._images[...] = images
        self._request.infer()
        return self._request.get_tensor(SCORE).data, self._request.get_tensor(MAP).data


def _last(error: RuntimeError) -> str:
    """Where OpenVINO says what is wrong."""
    return (str(error).strip().splitlines() or ["it does not say why"])[-1]


def _threads(base: str, number: int | None) -> dict[str, Any]:
    if number is None:
        return {}
    if base != "CPU":
        raise ConfigError(f"inference_num_threads is for the CPU and not for {base}; leave it out.")
    return {"INFERENCE_NUM_THREADS": number, "ENABLE_CPU_PINNING": False}


def _config(base: str, hint: Hint, cache_dir: Path | None, precision: InferencePrecision) -> dict[str, Any]:
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": hint.upper(),
        # Left alone, hosts with AMX compute in bf16 and GPUs in f16: maps are then 1e-2 off, enough to flip verdicts.
        "INFERENCE_PRECISION_HINT": precision,
    }
    if base == "AUTO":
        # Or AUTO passes the self-test on the CPU while another device compiles, and moves there afterwards.
        config |= {"ENABLE_STARTUP_FALLBACK": False, "ENABLE_RUNTIME_FALLBACK": False}
    if cache_dir is not None:
        try:
            Path(cache_dir).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(cache_dir, error, "choose another cache_dir") from None
        config["CACHE_DIR"] = str(cache_dir)
    return config
