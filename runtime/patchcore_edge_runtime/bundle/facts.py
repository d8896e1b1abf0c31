"""What the parts of a manifest have in common: bounded texts and numbers, and no key that is not known."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ..images.geometry import Share

__all__ = ["Facts", "Finite", "NonNegative", "Share", "Text"]

Text = Annotated[str, Field(max_length=1000)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Facts(BaseModel):
    """A part of a manifest: whole, bounded, and not to be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
