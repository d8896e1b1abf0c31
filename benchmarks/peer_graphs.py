"""The peer's models as IRs of batch 1, under the same OpenVINO and settings as ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from safetensors.torch import save_file

from patchcore_edge.models import Patchcore

from .compare import frames_of, save_network
from .material import cells
from .peer import Peer
from .subject import LAYERS, Subject

__all__ = ["PeerGraph", "mahalanobis_graph", "patchcore_ir"]


def patchcore_ir(peer: Peer, fitted: Patchcore, folder: Path, subject: Subject) -> Path:
    """The peer's IR for batch 1 with the weights and the bank of a fitted model, in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    bank = folder / "bank.safetensors"
    save_file({"bank": fitted.model.memory_bank.contiguous()}, bank)
    facts = peer.run(
        "export_ir",
        folder=folder,
        backbone=subject.backbone,
        layers=LAYERS,
        network=save_network(fitted, folder / "network.safetensors"),
        bank=bank,
        size=subject.size,
        neighbors=fitted.model.num_neighbors,
    )
    return Path(facts["xml"])


class PeerGraph:
    """The peer's IR under the same OpenVINO and settings; a frame becomes what it takes, as its own inferencer does."""

    def __init__(self, xml: Path) -> None:
        config = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        self._request = ov.Core().compile_model(xml, "CPU", config).create_infer_request()

    def __call__(self, frame: NDArray[np.uint8]) -> Any:
        image = np.ascontiguousarray(frame[..., ::-1].transpose(0, 3, 1, 2), np.float32) / 255
        return self._request.infer({0: image}, share_inputs=True)

    def score(self, frame: NDArray[np.uint8]) -> float:
        """The raw image score."""
        return float(self(frame)["pred_score"].ravel()[0])


def mahalanobis_graph(
    peer: Peer, fitted: Patchcore, folder: Path, subject: Subject
) -> tuple[PeerGraph, dict[str, Any]]:
    """The IR of ``MHPatchcore``, fitted on as many cells as ours; its bank's shape and the seconds of its fit."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "train.npy", frames_of(cells(subject.images, subject.size)))
    extractor = fitted.model.feature_extractor
    facts = peer.run(
        "export_mahalanobis",
        folder=folder,
        backbone=subject.backbone,
        layers=LAYERS,
        network=save_network(fitted, folder / "network.safetensors"),
        train=folder / "train.npy",
        mean=extractor.mean,
        std=extractor.std,
    )
    return PeerGraph(Path(facts["xml"])), facts
