"""All that is wrong with the settings of a line, in one go."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .config import LineConfig

__all__ = ["validated"]

_MOST_ROUNDS = 8


def validated(document: dict[str, Any]) -> tuple[LineConfig | None, list[ErrorDetails]]:
    """A line from plain values, or all that is wrong with them, also what shows only once the rest is right.

    Pydantic looks at how values go together when each is right by itself. So what is wrong is taken away, and the rest
    is looked at again.
    """
    faults: list[ErrorDetails] = []
    for _ in range(_MOST_ROUNDS):
        try:
            line = LineConfig.model_validate(document)
        except ValidationError as error:
            known = {fault["loc"] for fault in faults}
            found = error.errors()
            faults += [fault for fault in found if fault["loc"] not in known]
            # What was taken away and is missing now takes its table along.
            places = [fault["loc"][:-1] if fault["loc"] in known else fault["loc"] for fault in found]
            if not all(place and _take_away(document, place) for place in places):
                break
        else:
            return (None if faults else line), faults
    return None, faults


def _take_away(document: dict[str, Any], place: tuple[int | str, ...]) -> bool:
    """Whether the value, or the table that lacks it, could be taken away."""
    for end in range(1, len(place) + 1):
        *tables, last = place[:end]
        inside: Any = document
        for name in tables:
            inside[name] = dict(inside[name])
            inside = inside[name]
        if last not in inside:
            return end > 1 and _take_away(document, place[: end - 1])
        if end == len(place) or not isinstance(inside[last], dict):
            del inside[last]
            return True
    return False
