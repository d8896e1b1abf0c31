"""What goes wrong between a line and a model server."""

from __future__ import annotations

from ..errors import ConfigError, shortened
from ..shown import printable, shown

__all__ = ["ServerError", "missing_packages", "said"]


class ServerError(RuntimeError):
    """A server that cannot be reached, refuses, or answers what no model of an export answers.

    Its text is the end of a sentence about the server. A ``RuntimeError``, as a ``Backend`` raises it: the frame is
    ERROR, and the next one may succeed.
    """


def missing_packages() -> ConfigError:
    """The error for gRPC without what the extra ``serving`` installs."""
    return ConfigError("grpc:// needs packages that are not installed; pip install 'patchcore-edge-runtime[serving]'.")


def said(text: object) -> str:
    """Of what a server says as much as may be shown, on one line."""
    return shortened(printable(shown(" ".join(str(text).split())))) or "it does not say why"
