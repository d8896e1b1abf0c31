"""A connection to a model, by whichever way its address says."""

from __future__ import annotations

from .kserve import Connection
from .settings import ServerSettings

__all__ = ["connect"]


def connect(settings: ServerSettings) -> Connection:
    """Connect to a model.

    Raises:
        ServerError: the server cannot be reached.
        ConfigError: a setting cannot be used, or a package is missing.
    """
    if settings.address.scheme in ("http", "https"):
        from .kserve_http import HttpConnection

        return HttpConnection(settings)
    from .kserve_grpc import GrpcConnection

    return GrpcConnection(settings)
