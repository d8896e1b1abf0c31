"""What a machine can do at most, measured: products of numbers and bytes of memory in a second.

A ratio to a peer says little of another machine. A share of these limits says how much is left to win on this one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import openvino as ov
import torch

from patchcore_edge.models.k_center_greedy import products
from patchcore_edge_export.convert.backbone import backbone_model
from patchcore_edge_runtime.inspection.openvino_backend import made_for

from .row import repeated

__all__ = ["Limits", "backbone_operations_of", "limits"]

SIDE = 2048
"""Of the large matrix product: 17 billion operations, 16 MiB a matrix."""
REPEATS = 12
STREAM_MIB = 256
_TAPS = {"Convolution": 1, "GroupConvolution": 2}
"""Layers of a network → where the weights' shape says how many products make an output."""


@dataclass(frozen=True)
class Limits:
    """Operations a second (a product and a sum are two) in float32 and, where the CPU has it, bf16; bytes a second."""

    f32: float
    bf16: float | None
    stream: float

    def of_products(self, operations: float, seconds: float) -> str:
        """A time as a share of what products in float32 take at least."""
        reached = operations / seconds
        return (
            f"{operations / 1e9:.3g} GFLOP: {reached / 1e9:.0f} GFLOP/s, {reached / self.f32:.0%} of a large product's "
            f"{self.f32 / 1e9:.0f}"
        )

    def of_bytes(self, size: float, seconds: float) -> str:
        """A time as a share of what reading and writing so many bytes takes at least."""
        reached = size / seconds
        return (
            f"{size / 1e6:.3g} MB: {reached / 1e9:.2g} GB/s, {reached / self.stream:.0%} of a large copy's "
            f"{self.stream / 1e9:.2g}"
        )

    def describe(self) -> str:
        """For the head of a table."""
        half = "no bf16" if self.bf16 is None else f"{self.bf16 / 1e9:.0f} in bf16"
        return f"{self.f32 / 1e9:.0f} GFLOP/s in float32, {half}, {self.stream / 1e9:.1f} GB/s"


@lru_cache(maxsize=1)
def limits() -> Limits:
    """Of this machine, all cores; the best of some runs."""
    x, weights, bias = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE), torch.zeros(SIDE)
    operations = 2.0 * SIDE**3
    ways: list[Callable[[int], Any]] = [lambda _: products(x, weights, bias), lambda _: x @ weights]
    bf16 = None
    if "bf16" in made_for("CPU"):
        low, low_weights = x.bfloat16(), weights.bfloat16()
        bf16 = operations / _fastest(lambda _: low @ low_weights)
    source = torch.ones(STREAM_MIB << 18)
    target = torch.empty_like(source)
    copied = 2.0 * source.nbytes / _fastest(lambda _: target.copy_(source))
    return Limits(operations / min(_fastest(way) for way in ways), bf16, copied)


def _fastest(work: Callable[[int], Any]) -> float:
    work(0)
    return min(repeated(work, REPEATS).seconds)


def backbone_operations_of(xml: Path) -> float:
    """Operations of one frame's features: products and sums of the backbone's layers, in an IR."""
    core = ov.Core()
    core.set_property({"ENABLE_MMAP": False})
    total = 0.0
    nodes: list[Any] = backbone_model(core.read_model(xml)).get_ordered_ops()
    for node in nodes:
        kind = node.get_type_name()
        outputs = _product(node.get_output_shape(0)) if node.get_output_size() else 0.0
        if kind in _TAPS:
            total += 2 * outputs * _product(list(node.get_input_shape(1))[_TAPS[kind] :])
        elif kind == "MatMul":
            total += 2 * outputs * list(node.get_input_shape(0))[-1]
    return total


def _product(sides: Any) -> float:
    found = 1.0
    for side in sides:
        found *= side
    return found
