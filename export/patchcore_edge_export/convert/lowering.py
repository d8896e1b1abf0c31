"""8-bit weights or operations, found once for a backbone and put into every graph that shares it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import openvino as ov

from patchcore_edge_runtime.bundle.manifest import QuantizationFacts
from patchcore_edge_runtime.images.preprocess import Image

from .backbone import pools
from .quantize import Quantized, compress_weights, quantize
from .recipe import compress_with

__all__ = ["Lowering", "with_backbone_of"]


class Lowering:
    """INT8 or compressed weights: the first graph decides how, later ones of the same backbone get the same.

    Args:
        compressed: compress weights in place of quantizing.
        train: good training images, HxWx3 uint8 BGR of the model's size.
        batch: the graphs' static batch size.
    """

    def __init__(self, *, compressed: bool, train: Sequence[Image], batch: int) -> None:
        self._compressed, self._train, self._batch = compressed, train, batch
        self._first: Quantized | None = None

    def __call__(self, model: ov.Model) -> ov.Model:
        """A lowered copy of a float graph."""
        if self._first is None:
            lower = compress_weights if self._compressed else quantize
            self._first = lower(model, self._train, self._batch)
            return self._first.model
        if self._compressed:
            # The bank is compressed as well, and it may be another one.
            return compress_with(model, self._first.float_layers)
        return with_backbone_of(model, self._first.model)

    @property
    def facts(self) -> QuantizationFacts | None:
        """What was done; None before the first graph."""
        if self._first is None:
            return None
        return QuantizationFacts(
            layers=self._first.layers,
            float_layers=self._first.float_layers,
            images=len(self._train),
            feature_error=self._first.feature_error,
        )


def with_backbone_of(model: ov.Model, source: ov.Model) -> ov.Model:
    """A copy of a graph whose backbone, up to the pooled features, is that of another graph of the same network."""
    model, source = model.clone(), source.clone()
    given = pools(source)
    for own, other in zip(pools(model), given, strict=True):
        for target in list(own.output(0).get_target_inputs()):
            target.replace_source_output(other.output(0))
    made = ov.Model(model.get_results(), source.get_parameters(), model.get_friendly_name())
    _name_apart(made)
    return made


def _name_apart(model: ov.Model) -> None:
    """Rename nodes of one graph that are called as nodes of the other are: by its name a node is known here."""
    seen: set[str] = set()
    nodes: list[Any] = model.get_ordered_ops()
    for node in nodes:
        name = node.get_friendly_name()
        while name in seen:
            name = f"{name}_"
        node.set_friendly_name(name)
        seen.add(name)
