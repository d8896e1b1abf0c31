"""torch → ONNX, static in every dimension (DESIGN section 4: a dynamic batch was silently specialised)."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import onnx
import torch

from .edge_model import EdgeModel

__all__ = ["export_onnx"]


def export_onnx(model: EdgeModel, path: Path, batch: int, size: tuple[int, int]) -> None:
    """Write and check an ONNX file.

    Args:
        model: the graph.
        path: file to write; larger weights go beside it.
        batch, size: of the static input ``frame`` ``[batch, height, width, 3]`` uint8.
    """
    frame = torch.zeros(batch, *size, 3, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.inference_mode():
        # The exporter's own deprecations are not the user's concern.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (frame,),
            input_names=["frame"],
            output_names=["pred_score", "anomaly_map"],
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(str(path), external_data=True)
    onnx.checker.check_model(str(path))
