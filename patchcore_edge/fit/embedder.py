"""Frames to patch features, as fast as this machine can: OpenVINO on a CPU where it agrees with torch, else torch."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.dataset import ImageDataset
from ..guest_logging import unchanged_logging
from ..models import Patchcore
from .distributed.ranks import ranks
from .half_precision import usable_half

__all__ = ["EMBEDDING_LIMIT", "Embedder", "converted", "deviation", "embedding", "largest_feature"]

_log = logging.getLogger(__name__)

EMBEDDING_LIMIT = 1e-4
"""Largest deviation of a patch's feature vector from torch's, as a share of the mean length of such vectors."""

_CHECKED = 4
"""Frames that both embed before OpenVINO is believed."""

_MIN_IMAGES = 32
"""With fewer, tracing and compiling take longer than they save."""


class Embedder:
    """Embeds frames for the pool.

    Args:
        model: its device decides; only on a CPU is OpenVINO used.
        images: how many are to come.
        min_images: from how many on OpenVINO is worth its compilation.
        half: types of half precision to try, where their features lead to the right distances; see ``usable_half``.

    Attributes:
        precision: of the features that torch computes; None for float32.
    """

    def __init__(
        self, model: Patchcore, images: int, min_images: int = _MIN_IMAGES, half: Sequence[torch.dtype] = ()
    ) -> None:
        self._model, self._half = model, tuple(half)
        self.precision: torch.dtype | None = None
        self._compiled: _Compiled | None = None
        self._pending = images >= min_images and model.pre_processor.mean.device.type == "cpu"

    @property
    def backend(self) -> str:
        """Name of the library that embeds from now on."""
        return "torch" if self._compiled is None else "openvino"

    def __call__(self, frames: Tensor) -> Tensor:
        """``[N,H,W,3]`` uint8 BGR of the model's size → ``[N*h*w, D]`` float32 features, on the model's device."""
        if self._compiled is not None:
            return torch.from_numpy(self._compiled(frames.numpy()))
        if self._pending and frames.dtype == torch.uint8:
            self._pending = False
            self._compiled = self._checked(frames[:_CHECKED])
            return self(frames)
        if self._half and frames.dtype == torch.uint8:
            self.precision, self._half = usable_half(self._torch, frames[:_CHECKED], self._half), ()
        return self._torch(frames, self.precision)

    def _torch(self, frames: Tensor, precision: torch.dtype | None = None) -> Tensor:
        network, before = self._model.model, self._model.model.training
        network.train()  # in which mode it embeds
        with torch.inference_mode(), torch.autocast(frames.device.type, precision, enabled=precision is not None):
            rows: Tensor = network(self._model.pre_processor(frames))
        network.train(before)
        return rows.float()

    def _checked(self, frames: Tensor) -> _Compiled | None:
        """The compiled backbone, if it gives what torch gives for these frames."""
        expected = self._torch(frames)
        try:
            compiled = _Compiled(self._model, frames[:1])
            found = deviation(torch.from_numpy(compiled(frames.numpy())), expected)
        except Exception as error:  # noqa: BLE001 - a converter raises whatever it meets; torch can do the work
            _log.warning("Features come from torch: OpenVINO cannot run the backbone (%s).", str(error).split("\n")[0])
            return None
        # Written so that NaN fails.
        if found <= EMBEDDING_LIMIT:
            return compiled
        _log.warning("Features come from torch: OpenVINO's deviate by %.1e.", found)
        return None


def largest_feature(model: Patchcore, dataset: ImageDataset, *, strict: bool) -> float:
    """Of the first image that can be read; 0 where there is none, as reading all of them will say."""
    for batch in dataset.batches(1, strict=strict):
        return float(Embedder(model, 0)(batch.image.to(model.pre_processor.mean.device)).abs().max())
    return 0.0


def embedding(model: Patchcore) -> Callable[[Tensor], Tensor]:
    """Pre-processing, backbone and merge of one model, for tracing."""
    pre_processor = copy.deepcopy(model.pre_processor)
    # The bank stays behind: it is not traced, and may be large.
    bank, model.model.memory_bank = model.model.memory_bank, torch.empty(0)
    try:
        network = copy.deepcopy(model.model).to(memory_format=torch.contiguous_format).eval()
    finally:
        model.model.memory_bank = bank
    return lambda frames: network.reshape_embedding(network.embed(pre_processor(frames)))


class _Compiled:
    """The backbone as OpenVINO runs it: one image per request, as many requests at once as the cores carry."""

    def __init__(self, model: Patchcore, example: Tensor) -> None:
        with unchanged_logging(), torch.inference_mode():
            graph = converted(embedding(model), example)
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
        if (local := ranks().local_size) > 1:
            # The others need cores too, and each would pin its threads to the same first ones.
            options["INFERENCE_NUM_THREADS"] = max(1, (os.cpu_count() or 1) // local)
            options["ENABLE_CPU_PINNING"] = False
        self._compiled = ov.Core().compile_model(graph, "CPU", options)
        self._queue = ov.AsyncInferQueue(self._compiled)
        self._queue.set_callback(self._collect)
        self._rows: dict[int, NDArray[np.float32]] = {}

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        for index in range(len(frames)):
            self._queue.start_async([frames[index : index + 1]], index)
        self._queue.wait_all()
        return np.concatenate([self._rows.pop(index) for index in range(len(frames))])

    def _collect(self, request: Any, index: int) -> None:
        self._rows[index] = request.get_output_tensor(0).data.copy()


def converted(function: Callable[[Tensor], Tensor], example: Tensor) -> ov.Model:
    """A function of uint8 tensors shaped as ``example``, as an OpenVINO model.

    By the converter's frontend alone: ``ov.convert_model`` makes a second of a tenth (it traces three times and
    transforms what the compiler transforms again). What comes out is compared with torch anyhow.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    # A function, not a module: making a script module of each of its parts takes longer than the rest.
    traced = torch.jit.trace(function, example, check_trace=False)  # type: ignore[no-untyped-call]
    decoder = TorchScriptPythonDecoder(traced, example_input=example)  # by a name: the frontend does not hold it
    manager = FrontEndManager()
    frontend = manager.load_by_framework("pytorch")
    graph: ov.Model = frontend.convert(frontend.load(decoder))
    frames = graph.inputs[0].get_node()
    frames.set_element_type(ov.Type.u8)
    frames.set_partial_shape(ov.PartialShape(list(example.shape)))
    graph.validate_nodes_and_infer_types()
    return graph


def deviation(rows: Tensor, expected: Tensor) -> float:
    """Largest distance of a row of ``[n, D]`` from the expected one, as a share of the expected rows' mean length."""
    return float((rows - expected).norm(dim=1).max() / expected.norm(dim=1).mean())
