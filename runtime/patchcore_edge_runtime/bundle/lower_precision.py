"""What a bundle says of being computed in half precision: by default nothing, and then it is computed in float32.

Whatever the precision, distances are taken in float32: the graph's operations behind the backbone are marked for it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .facts import Facts
from .parity_report import ParityReport

__all__ = ["AskedPrecision", "InferencePrecision", "LowerName", "LowerPrecision", "LowerTolerance"]

LowerName = Literal["bf16", "f16"]
"""As OpenVINO's ``INFERENCE_PRECISION_HINT`` has them."""

InferencePrecision = Literal["f32", "bf16", "f16"]

AskedPrecision = Literal["auto", "f32", "bf16", "f16"]
"""``auto`` is the first of those that the bundle was verified for, that the device is made for and whose self-test it
passes; float32 in the end."""


class LowerPrecision(Facts):
    """A precision that the exporting machine computed the graph in.

    Attributes:
        parity: the graph in this precision against torch in float32. Only where it passed may the graph be computed so.
    """

    name: LowerName
    parity: ParityReport


class LowerTolerance(Facts):
    """How far a golden image's score and the cells of its map may be off in a lower precision, relative."""

    score: Annotated[float, Field(gt=0, le=0.5)]
    map: Annotated[float, Field(gt=0, le=0.5)]
