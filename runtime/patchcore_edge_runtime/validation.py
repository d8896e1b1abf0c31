"""What settings have in common, and what pydantic says of wrong values, as part of a sentence to a person."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from .errors import ConfigError, ValuesError

__all__ = [
    "LARGEST",
    "Checked",
    "Seconds",
    "Settings",
    "ended",
    "explain_fault",
    "first_fault",
    "no_such",
    "one_of",
    "require",
]

_LONGEST = 60

LARGEST = 10**12
"""What no setting exceeds: each counts bytes, pixels, records or time."""

Seconds = Annotated[float, Field(gt=0, le=86_400)]
"""A time to wait: a day at most, as a longer one is no limit any more."""


class Checked(BaseModel):
    """A model whose wrong values are one sentence to whoever builds it, and not pydantic's page about them.

    Raises:
        ValuesError: a value is wrong; says which and why. As part of another model, and by ``model_validate``, it is
            validated as any model is.
    """

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ValuesError(ended(f"{type(self).__name__}: {first_fault(error, type(self))}")) from None

    # Or pydantic would call it for each model that is a part of another one, whose faults it could not place then.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


class Settings(Checked):
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


_BOUNDS = {
    "greater_than": "give a number above {gt}",
    "greater_than_equal": "give {ge} or more",
    "less_than": "give a number below {lt}",
    "less_than_equal": "give {le} or less",
    "finite_number": "give a finite number",
    "float_type": "give a number",
    "float_parsing": "give a number",
    "int_type": "give a whole number",
    "int_parsing": "give a whole number",
    "int_from_float": "give a whole number",
    "int_parsing_size": "give a smaller number",
    "bool_type": "give true or false",
    "bool_parsing": "give true or false",
    "string_type": "give a text in quotes",
    "path_type": "give a path in quotes",
    "literal_error": "give {expected}",
    "enum": "give {expected}",
}
# Of these the value is not shown: it may be long, or a secret that was written under a wrong key.
_SHAPES = {
    "missing": "it is missing; give it",
    "extra_forbidden": "there is no such key; take it away",
    "string_too_short": "it is too short; give {min_length} characters or more",
    "string_too_long": "it is too long; give {max_length} characters at most",
    "string_pattern_mismatch": "it is not written as {pattern} asks; write it so",
    "tuple_type": "it is no list; give one in brackets",
    "list_type": "it is no list; give one in brackets",
    "too_short": "it has {actual_length} values; give {min_length} or more",
    "too_long": "it has {actual_length} values; give {max_length} at most",
    "dict_type": "it is no table; give one",
    "model_type": "it is no table; give one",
    "model_attributes_type": "it is no table; give one",
}
_NEAR = 0.6


def explain_fault(fault: Mapping[str, Any], model: Any = None) -> str:
    """What is wrong, of one of ``ValidationError.errors()``, without the place and as part of a sentence.

    Args:
        fault: of pydantic.
        model: that was validated; where it is given, a key that is not there is told which are.
    """
    kind, facts = fault["type"], fault.get("ctx", {})
    if kind == "extra_forbidden" and (keys := _keys_beside(fault["loc"], model)):
        return no_such("key", str(fault["loc"][-1]), keys)
    if kind in _BOUNDS:
        return f"it is {_described(fault.get('input'))}; {_BOUNDS[kind].format(**facts)}"
    if kind in _SHAPES:
        return _SHAPES[kind].format(**facts)
    return str(fault["msg"]).removeprefix("Value error, ")


def no_such(what: str, name: str, names: Sequence[str]) -> str:
    """That there is no such thing, and which is meant, or which there are."""
    name = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."
    near = get_close_matches(name, names, 1, _NEAR)
    return f"there is no {what} {name}; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}")


def _keys_beside(place: tuple[int | str, ...], model: Any) -> list[str]:
    """The keys that the table has in which the last one of ``place`` stands; none where that cannot be told."""
    for name in place[:-1]:
        field = getattr(model, "model_fields", {}).get(str(name))
        kinds = [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
    fields = getattr(model, "model_fields", {})
    return [key for key, field in fields.items() if not field.exclude]


def first_fault(error: ValidationError, model: Any = None) -> str:
    """The first fault with its place: ``thresholds.image: it is -1; give a number above 0``."""
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"])
    why = explain_fault(fault, model)
    return f"{place}: {why}" if place else why


def ended(sentence: str) -> str:
    """With a stop, where it has no end yet."""
    return sentence if sentence.endswith((".", "?")) else f"{sentence}."
