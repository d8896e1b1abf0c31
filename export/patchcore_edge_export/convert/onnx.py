"""torch → ONNX, static in every dimension: torch's exporter may fix a dynamic batch without saying so."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch

from patchcore_edge_runtime.inspection.backend import FRAME, MAP, SCORE

from ..graph.edge_model import EdgeModel

__all__ = ["PROTOBUF_LIMIT", "export_onnx"]

PROTOBUF_LIMIT = (2 << 30) - (16 << 20)
"""Weights in bytes that one protobuf can hold, with room for the graph; more of them go to a file beside it."""


def export_onnx(
    model: EdgeModel, path: Path, batch: int, size: tuple[int, int], protobuf_limit: int = PROTOBUF_LIMIT
) -> None:
    """Write and check an ONNX file.

    Args:
        model: the graph.
        path: file to write; weights above the limit go to ``<path>.data``.
        batch, size: of the static input ``frame`` ``[batch, height, width, 3]`` uint8.
        protobuf_limit: bytes of weights that may stay inside ``path``.
    """
    frame = torch.zeros(batch, *size, 3, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.inference_mode():
        # The exporter's own deprecations are not the user's concern.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (frame,),
            input_names=[FRAME],
            output_names=[SCORE, MAP],
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    _forget_origins(program.model)
    weights = sum(_bytes(value) for value in program.model.graph.initializers.values())
    program.save(str(path), external_data=weights > protobuf_limit)
    onnx.checker.check_model(str(path))


def _forget_origins(model: Any) -> None:
    """Drop the exporter's notes: they hold stack traces, with the paths of this machine."""
    model.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.graph.metadata_props.clear()


def _bytes(value: Any) -> int:
    return 0 if value.const_value is None else int(value.const_value.nbytes)
