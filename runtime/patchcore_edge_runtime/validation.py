"""What pydantic says of wrong values, as part of a sentence to a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

__all__ = ["explain_fault", "first_fault"]


def explain_fault(fault: Mapping[str, Any]) -> str:
    """What pydantic says of one of ``ValidationError.errors()``, without its own introduction and without the place."""
    return str(fault["msg"]).removeprefix("Value error, ")


def first_fault(error: ValidationError) -> str:
    """The first fault with its place: ``thresholds.image: Input should be greater than 0``."""
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {explain_fault(fault)}" if place else explain_fault(fault)
