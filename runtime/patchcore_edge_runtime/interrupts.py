"""Ctrl-C while a command is being loaded: where an import is, Python makes a page of it, or an error of the import."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["INTERRUPTED", "interrupts_end_it"]

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C has ended."""
_STDERR = 2


@contextmanager
def interrupts_end_it() -> Iterator[None]:
    """While inside, Ctrl-C ends the process at once, in one word; for what has begun nothing that it would have to end.

    Where Ctrl-C is not for this process (one that was started with ``&``), nothing changes.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_: int, __: FrameType | None) -> None:
    with suppress(OSError):
        os.write(_STDERR, b"stopped.\n")
    os._exit(INTERRUPTED)
