"""What libraries in C print on the error output, past Python: caught, and logged line by line."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper

__all__ = ["native_lines_caught"]

_STDERR = 2
_MINUTE_SECONDS = 60.0
_MOST_A_MINUTE = 10
_LONGEST = 1000


@contextmanager
def native_lines_caught(log: logging.Logger) -> Iterator[None]:
    """While inside, what is printed on the error output past Python is logged as warnings, a few lines a minute.

    Does nothing where Python's error output is not the process's. A crash in such a library is told by Python's
    ``faulthandler``, with the place in each thread: what the library itself would say is lost with the process.
    """
    before = sys.stderr
    if not isinstance(before, TextIOWrapper) or _number(before) != _STDERR:
        yield
        return
    before.flush()
    kept = os.dup(_STDERR)
    reading, writing = os.pipe()
    os.dup2(writing, _STDERR)
    os.close(writing)
    own = open(kept, "w", encoding=before.encoding, errors=before.errors, buffering=1)  # noqa: SIM115, PTH123
    sys.stderr = own
    faulthandler.enable(own)
    thread = threading.Thread(target=_read, args=(reading, log), name="native lines", daemon=True)
    thread.start()
    try:
        yield
    finally:
        faulthandler.disable()
        own.flush()
        os.dup2(kept, _STDERR)  # the last writing end is closed by it, and the thread comes to its end
        thread.join(1.0)
        sys.stderr = before
        own.close()


def _number(stream: TextIOWrapper) -> int:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return -1


def _read(reading: int, log: logging.Logger) -> None:
    since, said, left_out = time.monotonic(), 0, 0
    with open(reading, "rb") as lines:
        while line := lines.readline(_LONGEST):
            if time.monotonic() - since >= _MINUTE_SECONDS:
                if left_out:
                    log.warning("%d further lines were left out.", left_out)
                since, said, left_out = time.monotonic(), 0, 0
            text = line.decode(errors="replace").strip()
            if text and said < _MOST_A_MINUTE:
                log.warning("%s", text)
            said, left_out = said + 1, left_out + (said >= _MOST_A_MINUTE)
    if left_out:
        log.warning("%d further lines were left out.", left_out)
