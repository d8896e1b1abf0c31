"""A line on the terminal that says how far a line is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..monitoring.status import LineStatus, Snapshot

__all__ = ["progress_line"]

_PER_SECOND = 4


@contextmanager
def progress_line(status: LineStatus) -> Iterator[None]:
    """While inside, the newest figures on the last line of a terminal, and what is logged above it; gone at the end.

    Nothing where the error output is no terminal.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    def drawn() -> Text:
        return Text(_figures(status.snapshot()), no_wrap=True, overflow="ellipsis")

    console = Console(stderr=True, highlight=False)
    with Live(get_renderable=drawn, console=console, refresh_per_second=_PER_SECOND, transient=True):
        yield


def _figures(now: Snapshot) -> str:
    counts = "  ".join(f"{verdict} {count}" for verdict, count in now.counts.items())
    pace = f"{now.fps:.1f} fps" if now.p95_ms is None else f"{now.fps:.1f} fps  p95 {now.p95_ms:.0f} ms"
    dropped = f"  dropped {now.dropped}" if now.dropped else ""
    source = f"  source {now.source}" if now.source != "running" else ""
    return f"{now.frames} inspected  {counts}  {pace}{dropped}{source}"
