"""Models to time: a backbone with a bank of a given size from real images, and the graphs made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from patchcore_edge.fit.embedder import Embedder
from patchcore_edge.models import KCenterGreedy, Patchcore
from patchcore_edge.thresholds import calibrate
from patchcore_edge_export.build import BuildResult, CalibrationInputs, GraphOptions, build_graph
from patchcore_edge_export.convert.backbone import backbone_model
from patchcore_edge_export.convert.onnx import export_onnx
from patchcore_edge_export.convert.openvino import convert
from patchcore_edge_export.graph.edge_model import EdgeModel
from patchcore_edge_export.graph.fast_search import FastPlan
from patchcore_edge_runtime.bundle.bundle import MODEL_XML
from patchcore_edge_runtime.bundle.lower_precision import InferencePrecision
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend
from patchcore_edge_runtime.verdict import Thresholds

from .material import cells

__all__ = ["BANK", "LAYERS", "Alone", "Subject", "batches", "compiled"]

LAYERS = ("layer2", "layer3")
BANK = 16_384
_HELD_OUT, _TIMED = slice(300, 348), slice(400, 448)
"""Of the good cells; the bank is made of earlier ones."""


@dataclass(frozen=True)
class Subject:
    """What is timed.

    Attributes:
        backbone: timm's name of a ResNet.
        weights: its file; random weights (seed 0) without one, which do for time.
        images: how many good cells the bank is chosen from, 300 at most.
    """

    backbone: str
    weights: Path | None
    images: int
    size: int = 256
    bank: int = BANK

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.backbone} at {self.size} px{'' if self.weights else ' (random weights)'}, bank {self.bank:,}"

    def model(self, scratch: Path) -> Patchcore:
        """The fitted model; its bank is made once and kept in ``scratch``."""
        torch.manual_seed(0)
        fitted = Patchcore(
            self.backbone,
            LAYERS,
            pre_trained=False,
            pre_processor=Patchcore.configure_pre_processor((self.size, self.size)),
            post_processor=False,
            weights=self.weights,
        ).eval()
        origin = "given" if self.weights else "random"
        kept = scratch / f"{self.backbone}_{origin}_{self.size}_{self.images}_{self.bank}.safetensors"
        if not kept.is_file():
            save_file({"rows": self._longest_bank(fitted)}, kept)
        fitted.model.memory_bank = load_file(kept)["rows"][: self.bank].clone()
        fitted.pool_size = self.images * prod(fitted.model.patch_grid((self.size, self.size)))
        return fitted

    def _longest_bank(self, fitted: Patchcore) -> torch.Tensor:
        """As many picks as were asked for; a smaller bank is their beginning, for that is how greedy selection goes."""
        dataset = cells(self.images, self.size)
        embed = Embedder(fitted, self.images)
        frames = torch.from_numpy(np.stack([dataset.image(index) for index in range(self.images)]))
        pool = torch.cat([embed(part) for part in torch.split(frames, 16)])
        return pool[KCenterGreedy(pool, 1.0, size=self.bank).select_coreset_idxs()].contiguous()

    def held_out(self) -> list[Image]:
        """Good cells that the bank has not seen."""
        return self._frames(_HELD_OUT)

    def timed(self) -> list[Image]:
        """Good cells to time on, other ones again."""
        return self._frames(_TIMED)

    def _frames(self, places: slice) -> list[Image]:
        dataset = cells(places.stop, self.size)
        return [dataset.image(index) for index in range(places.start, places.stop)]

    def graph(
        self, folder: Path, fitted: Patchcore, options: GraphOptions, inputs: CalibrationInputs | None = None
    ) -> BuildResult:
        """Export as the product does, gate included; ``folder`` then holds the IR."""
        folder.mkdir(parents=True, exist_ok=True)
        held = self.held_out()
        with torch.inference_mode():
            found = [fitted(torch.from_numpy(image)[None]) for image in held]
        scores = np.array([float(one.pred_score[0]) for one in found], np.float32)
        maxima = np.array([float(one.anomaly_map.max()) for one in found], np.float32)
        thresholds, _ = calibrate(scores, maxima, 0.05, "held out")
        inputs = inputs or CalibrationInputs(recorded=[float(score) for score in scores])
        return build_graph(folder, fitted, held, thresholds, options, inputs)


def compiled(folder: Path, fitted: Patchcore, plan: FastPlan | None) -> OpenVINOBackend:
    """The IR of a search, written to ``folder`` without asking the gate: for comparisons of time."""
    folder.mkdir(parents=True, exist_ok=True)
    export_onnx(EdgeModel(fitted, plan), folder / "model.onnx", 1, fitted.pre_processor.spec.input_size)
    convert(folder / "model.onnx", folder / MODEL_XML, Thresholds(image=1.0, pixel=1.0), compress_to_fp16=False)
    return OpenVINOBackend(folder / MODEL_XML, "CPU", "latency")


class Alone:
    """The backbone of the IR in a folder: pooled features of a frame, computed and not taken out."""

    def __init__(self, folder: Path, precision: InferencePrecision = "f32") -> None:
        core = ov.Core()
        core.set_property({"ENABLE_MMAP": False})
        config = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        model = backbone_model(core.read_model(folder / MODEL_XML))
        self._request = core.compile_model(model, "CPU", config).create_infer_request()

    def __call__(self, frame: NDArray[np.uint8]) -> None:
        """``[1,H,W,3]`` uint8 BGR."""
        self._request.infer({"frame": frame}, share_inputs=True)


def batches(frames: Sequence[Image]) -> list[NDArray[np.uint8]]:
    """Each frame as a batch of one."""
    return [frame[None] for frame in frames]
