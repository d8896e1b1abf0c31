"""What goes wrong between a line and a model server."""

from __future__ import annotations

from ..errors import shortened
from ..shown import printable, shown

__all__ = ["ServerError", "said"]


class ServerError(RuntimeError):
    """A server that cannot be reached, refuses, or answers what no model of an export answers.

    Its text is the end of a sentence about the server. A ``RuntimeError``, as a ``Backend`` raises it: the frame is
    ERROR, and the next one may succeed.
    """


def said(text: object) -> str:
    """Of what a server says as much as may be shown, on one line."""
    return shortened(printable(shown(" ".join(str(text).split())))) or "it does not say why"
