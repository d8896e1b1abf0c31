"""What shows a line's records while it runs, such as a window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..display.record import Record
from ..inspection.inspector import Inspector
from ..monitoring.status import LineStatus

__all__ = ["Viewer", "ViewerFactory"]


class Viewer(Protocol):
    """What is called with each record and ends the line by returning False, such as a ``Window``.

    The line then runs in a thread of its own, and the main thread belongs to ``pump``.
    """

    inspector: Any

    def __call__(self, record: Record) -> bool:
        """Show one record; False ends the line."""

    def pump(self) -> bool:
        """Called by the main thread again and again; False ends the line."""

    def stop(self) -> None:
        """Wait for nothing any more; may be called from a signal handler."""

    def close(self) -> None:
        """Called at the end of the line."""


ViewerFactory = Callable[[Inspector, LineStatus, bool], Viewer]
"""From the inspector, the line's status and whether the source is live."""
