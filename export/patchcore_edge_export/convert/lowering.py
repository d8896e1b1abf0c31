"""8-bit weights or operations, found once for a backbone and put into every graph that shares it."""

from __future__ import annotations

from collections.abc import Sequence

import openvino as ov

from patchcore_edge_runtime.bundle.manifest import QuantizationFacts
from patchcore_edge_runtime.images.preprocess import Image

from .backbone import with_backbone_of
from .quantize import Quantized, compress_weights, quantize
from .recipe import compress_with

__all__ = ["Lowering"]


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
