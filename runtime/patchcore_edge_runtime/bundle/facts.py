"""What the parts of a manifest have in common: bounded texts and numbers, and no key that is not known."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ..images.geometry import Share

__all__ = ["NO_CONTROL", "Facts", "Finite", "Name", "NonNegative", "Share", "Text"]

NO_CONTROL = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*$"
Text = Annotated[str, Field(max_length=1000, pattern=NO_CONTROL)]
"""One line: control characters could write into a log or a terminal what nobody logged."""
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=NO_CONTROL)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Facts(BaseModel):
    """A part of a manifest: whole, bounded, and not to be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
