"""An ONNX file in ONNX Runtime: the gate's second opinion of what the IR was made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.inspection.backend import FRAME, MAP, SCORE

__all__ = ["ONNXRuntimeBackend"]


class ONNXRuntimeBackend:
    """An ONNX file on the CPU, a ``Backend``.

    Args:
        path: what ``export_onnx`` wrote.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        (frame,) = self._session.get_inputs()
        self._images: Image = np.zeros(frame.shape, np.uint8)

    @property
    def images(self) -> Image:
        """``[N,H,W,3]`` uint8 BGR, the memory that inference reads."""
        return self._images

    @property
    def execution_devices(self) -> list[str]:
        """The CPU."""
        return ["CPU"]

    def infer(self, images: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Score a batch, as ``Backend`` says."""
        if images is not self._images:
            self._images[...] = images
        score, anomaly_map = self._session.run([SCORE, MAP], {FRAME: self._images})
        return score, anomaly_map
