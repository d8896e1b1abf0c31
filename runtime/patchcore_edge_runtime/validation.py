"""What settings have in common, and what pydantic says of wrong values, as part of a sentence to a person."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from .errors import ConfigError

__all__ = ["LARGEST", "Seconds", "Settings", "explain_fault", "first_fault", "one_of", "require"]

_LONGEST = 60

LARGEST = 10**12
"""What no setting exceeds: each counts bytes, pixels, records or time."""

Seconds = Annotated[float, Field(gt=0, le=86_400)]
"""A time to wait: a day at most, as a longer one is no limit any more."""


class Settings(BaseModel):
    """What every table of a line's file is: no key that nobody knows, and each number finite, from 0 to ``LARGEST``.

    An infinite limit is none: it would switch off what the key is there for, in silence. Fields have narrower ranges
    of their own where they need them.

    Attributes:
        signed: fields whose numbers may be below 0, as units of drivers are; down to ``-LARGEST``.
    """

    signed: ClassVar[frozenset[str]] = frozenset()

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _in_range(cls, value: Any, field: ValidationInfo) -> Any:
        least = -LARGEST if field.field_name in cls.signed else 0
        wrong = [number for number in _numbers(value) if not (math.isfinite(number) and least <= number <= LARGEST)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no number from {least} to {LARGEST}")
        return value


def _numbers(value: Any) -> list[float]:
    if isinstance(value, int | float):
        return [value]
    return [number for one in value for number in _numbers(one)] if isinstance(value, tuple | list) else []


def require(name: str, value: object, kinds: type | tuple[type, ...], wanted: str) -> None:
    """Refuse an argument of a wrong type at once, and not where somebody stumbles over it.

    Args:
        name: of the argument.
        value: that was given.
        kinds: as ``isinstance`` takes them; ``bool`` is no number here.
        wanted: what to give, in words.

    Raises:
        ConfigError: it is of none of these types.
    """
    accepted = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
        raise ConfigError(f"{name} is {_described(value)}; give {wanted}.")


def one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse an argument that is none of the words.

    Raises:
        ConfigError: it is another one.
    """
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(f"{name} is {_described(value)}; give {' or '.join(map(repr, choices))}.")


def _described(value: object) -> str:
    if value is None or isinstance(value, bool | int | float | str):
        text = repr(value)
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def explain_fault(fault: Mapping[str, Any]) -> str:
    """What pydantic says of one of ``ValidationError.errors()``, without its own introduction and without the place."""
    return str(fault["msg"]).removeprefix("Value error, ")


def first_fault(error: ValidationError) -> str:
    """The first fault with its place: ``thresholds.image: Input should be greater than 0``."""
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {explain_fault(fault)}" if place else explain_fault(fault)
