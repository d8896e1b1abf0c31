"""Ctrl-C while a command is being loaded: where an import is, Python makes a page of it, or an error of the import."""

from __future__ import annotations

import os
import signal

# Not from typing: this is loaded before a command listens to Ctrl-C.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType

__all__ = ["INTERRUPTED", "InterruptsEndIt"]

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C has ended."""
_STDERR = 2


class InterruptsEndIt:
    """While inside, Ctrl-C ends the process at once, in one word; for what has begun nothing that it would have to end.

    Where Ctrl-C is not for this process (one that was started with ``&``), nothing changes.
    """

    def __enter__(self) -> None:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _end)

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        if signal.getsignal(signal.SIGINT) is _end:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_: int, __: FrameType | None) -> None:
    try:
        os.write(_STDERR, b"stopped.\n")
    finally:
        os._exit(INTERRUPTED)
