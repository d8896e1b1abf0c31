"""OpenVINO's converter and NNCF as guests: they change the host's logging unless they are watched.

That they do not report home is seen to by ``patchcore_edge_runtime.telemetry``, which comes with the runtime's import.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["unchanged_logging"]


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
