"""OpenVINO's converter and NNCF as guests: they report home and change the host's logging unless told not to."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["disable_telemetry", "unchanged_logging"]


def disable_telemetry() -> None:
    """Switch telemetry off for this process; call before OpenVINO's converter or ``nncf`` are imported.

    Both fall back to a silent stub when ``openvino_telemetry`` cannot be imported, so the import is made to fail.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]


@contextmanager
def unchanged_logging() -> Iterator[None]:
    """Give the root logger back as it was: both raise levels, its own or its handlers', and hide a line's warnings.

    The warnings of their tracers about constants are not the user's concern and are not shown.
    """
    root = logging.getLogger()
    level, filters = root.level, list(root.filters)
    handlers = {handler: handler.level for handler in root.handlers}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
        root.filters, root.handlers = filters, list(handlers)
        for handler, own in handlers.items():
            handler.setLevel(own)
