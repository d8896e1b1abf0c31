"""Threads that a line relies on: what ends one of them is noticed, said, and it begins again."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path

from .errors import PatchcoreEdgeError
from .logs import log_failure
from .shown import shown

__all__ = ["describe_failure", "keep_running", "log_error", "start_thread"]

_LOG = logging.getLogger(__name__)
_PACKAGE = "patchcore_edge"
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0


def keep_running(
    name: str,
    work: Callable[[], object],
    *,
    ended: Callable[[], bool],
    failed: Callable[[str], None] = lambda _: None,
) -> threading.Thread:
    """Start a thread that does ``work`` until it is done, however often something ends it before.

    ``work`` is done when it returns while ``ended`` says so. An exception, whichever, or a return before that is logged
    and told to ``failed``; after a pause of a tenth of a second, and of twice as much each further time up to five
    seconds, ``work`` is called again. So what it has to know from one call to the next is kept outside of it.

    Args:
        name: of the thread.
        work: what it does.
        ended: whether it is to end; then it is begun again once at most.
        failed: is told why, in a sentence, and makes it ERROR where a verdict hangs on it.

    Returns:
        the thread, a daemon: what hangs in a library must not keep the process from ending.
    """

    def run() -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not _work(name, work, ended, failed):
            if ended():
                _work(name, work, ended, failed)
                return
            _rest(pause, ended)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    return start_thread(name, run)


def start_thread(name: str, work: Callable[[], object]) -> threading.Thread:
    """Start a daemon that does ``work`` once; what is logged there names the same line as here."""
    thread = threading.Thread(target=copy_context().run, args=(work,), name=name, daemon=True)
    thread.start()
    return thread


def _rest(seconds: float, ended: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not ended() and time.monotonic() < end:
        time.sleep(_FIRST_PAUSE_SECONDS)


def _work(name: str, work: Callable[[], object], ended: Callable[[], bool], failed: Callable[[str], None]) -> bool:
    """Whether the work came to its end by itself, and in time."""
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - also SystemExit, by which libraries end what they think is theirs
        reason = f"The thread {name} failed ({describe_failure(error)}); it is begun again."
        log_error(_LOG, reason, error)
    else:
        if ended():
            return True
        reason = f"The thread {name} ended by itself; it is begun again."
        _LOG.error(reason)
    try:
        failed(reason)
    except Exception as error:  # noqa: BLE001
        log_failure(_LOG, f"The thread {name} could not say that it failed.", error)
    return False


def log_error(log: logging.Logger, text: str, error: BaseException) -> None:
    """Log why something failed: an error of this project says all in its sentence, any other with where it is from."""
    if isinstance(error, PatchcoreEdgeError):
        log.error(text)
    else:
        log_failure(log, text, error)


def describe_failure(error: BaseException) -> str:
    """An unforeseen exception in a few words: its kind, what it says, and the place in this project that met it."""
    if isinstance(error, PatchcoreEdgeError):
        return str(error)
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if _PACKAGE in frame.filename]
    place = f", {own[-1].name} in line {own[-1].lineno} of {Path(own[-1].filename).name}" if own else ""
    text = " ".join(shown(error).split())
    return f"{type(error).__name__}{f': {text}' if text else ''}{place}"
