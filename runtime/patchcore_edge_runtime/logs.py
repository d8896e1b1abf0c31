"""What goes into the log, and how it looks: set up here and nowhere else.

Modules log by the standard library, ``logging.getLogger(__name__)``. Without ``log_to_stderr``, as in another program,
that program decides what becomes of it. Whatever it decides, no exception's text shows a secret: ``log_failure`` is how
one is logged.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from .native_lines import native_lines_caught
from .shown import printable, shown

__all__ = [
    "OPENCV_SILENT",
    "LogFormat",
    "error_line",
    "failure_text",
    "in_line",
    "log_failure",
    "log_to_stderr",
    "opencv_log",
]

PACKAGES = ("patchcore_edge_runtime", "patchcore_edge", "patchcore_edge_export")
# Each says again, less well, what our own sinks and sources say.
_CHATTY = ("pymodbus", "paho")
_NATIVE = logging.getLogger("native")
OPENCV_SILENT = 0  # of its log levels
_line: ContextVar[str] = ContextVar("line", default="")


class LogFormat(StrEnum):
    """How a line of the log looks."""

    TEXT = "text"
    JSON = "json"


@contextmanager
def in_line(name: str) -> Iterator[None]:
    """What is logged inside, and in threads that are started inside by ``keep_running``, names that line."""
    token = _line.set(name)
    try:
        yield
    finally:
        _line.reset(token)


def failure_text(error: BaseException) -> str:
    """All that Python knows of an exception and of those that led to it, without secrets; several lines."""
    return _shown_lines("".join(traceback.format_exception(error)))


def log_failure(log: logging.Logger, text: str, error: BaseException, level: int = logging.ERROR) -> None:
    """Log an exception that nobody foresaw, with where it comes from, and without the secrets in its text."""
    if log.isEnabledFor(level):
        record = log.makeRecord(log.name, level, __file__, 0, shown(text), (), None)
        # In place of ``exc_info``, of which every handler would make a text of its own.
        record.exc_text = failure_text(error)
        log.handle(record)


@contextmanager
def log_to_stderr(
    *, verbosity: int = 0, log_format: LogFormat = LogFormat.TEXT, service: bool = False
) -> Iterator[None]:
    """While inside, the log goes to the error output.

    Args:
        verbosity: 0 for warnings and errors, and of a service for what it does too; more for more, less for less.
        log_format: of each line.
        service: it runs for good: each line has its time, its level and where it comes from, and what libraries in C
            print past Python is caught.
    """
    global _formatter  # noqa: PLW0603 - the last words of a command are said when all else is over
    steps = (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
    level = steps[max(0, min(2 + service + verbosity, len(steps) - 1))]
    _formatter = _Json() if log_format is LogFormat.JSON else _Text(full=service)
    handler = _StderrHandler()
    handler.setFormatter(_formatter)
    root = logging.getLogger()
    loggers = {logging.getLogger(name): level for name in (*PACKAGES, _NATIVE.name)}
    loggers[root] = max(level, logging.WARNING) if verbosity < 2 else logging.DEBUG
    loggers |= {logging.getLogger(name): logging.CRITICAL if verbosity < 2 else logging.DEBUG for name in _CHATTY}
    before = {logger: logger.level for logger in loggers}
    with ExitStack() as stack:
        stack.callback(root.removeHandler, handler)
        for logger, now in loggers.items():
            stack.callback(logger.setLevel, before[logger])
            logger.setLevel(now)
        root.addHandler(handler)
        if verbosity < 2:
            _quieten_opencv()
        if service:
            stack.enter_context(native_lines_caught(_NATIVE))
            stack.enter_context(_python_says_it_in_the_log())
        yield


@contextmanager
def _python_says_it_in_the_log() -> Iterator[None]:
    """Warnings, and what ended a thread that nobody waits for, which Python would print as it is."""
    before = threading.excepthook

    def tell(ended: threading.ExceptHookArgs) -> None:
        name = ended.thread.name if ended.thread is not None else "of a library"
        log_failure(logging.getLogger(PACKAGES[0]), f"The thread {name} failed.", ended.exc_value or SystemExit())

    threading.excepthook = tell
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        threading.excepthook = before


_formatter: logging.Formatter | None = None


def error_line(text: str, cause: BaseException | None = None) -> str:
    """The last words of a command, as a line of its log.

    Args:
        text: what is wrong.
        cause: where it comes from, if that is to be told.
    """
    record = logging.LogRecord(PACKAGES[0], logging.ERROR, __file__, 0, text, (), None)
    if cause is not None:
        record.exc_text = failure_text(cause)
    return (_formatter or _Text(full=False)).format(record)


class _StderrHandler(logging.Handler):
    """To the error output that there is at this moment, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if sys.stderr is not None:
                sys.stderr.write(self.format(record) + "\n")
                sys.stderr.flush()
        except (OSError, ValueError):
            return  # nobody reads it, which ends no line


class _Text(logging.Formatter):
    """``warning: …``, or in full ``2026-01-31T12:34:56.789Z WARNING sinks.worker [left] …``."""

    def __init__(self, *, full: bool) -> None:
        super().__init__()
        self._full = full

    def format(self, record: logging.LogRecord) -> str:
        line = _line.get()
        text = _message(record)
        if self._full:
            head = f"{_time(record)} {record.levelname} {_source(record)}{f' [{printable(line)}]' if line else ''}"
            text = f"{head} {text}"
        else:
            text = f"{record.levelname.lower()}: {text}"
        trace = _trace(record)
        return "\n".join([text, *(f"    {row}" for row in trace.splitlines())])


class _Json(logging.Formatter):
    """An object per line: time, level, source, the line's name where there are several, message, trace."""

    def format(self, record: logging.LogRecord) -> str:
        facts = {"time": _time(record), "level": record.levelname, "source": _source(record)}
        if line := _line.get():
            facts["line"] = line
        facts["message"] = _message(record)
        if trace := _trace(record):
            facts["trace"] = trace
        return json.dumps(facts, ensure_ascii=False)


def _message(record: logging.LogRecord) -> str:
    """One line without secrets: what comes from outside begins no line of its own."""
    return printable(" ".join(shown(record.getMessage()).splitlines()))


def _trace(record: logging.LogRecord) -> str:
    if record.exc_text:
        return _shown_lines(record.exc_text)
    return failure_text(record.exc_info[1]) if record.exc_info and record.exc_info[1] else ""


def _shown_lines(text: str) -> str:
    return "\n".join(shown(line) for line in text.rstrip().splitlines())


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _source(record: logging.LogRecord) -> str:
    return record.name.removeprefix(f"{PACKAGES[0]}.") if record.name != PACKAGES[0] else "command"


def _quieten_opencv() -> None:
    """What it prints is said by us, in a sentence; whoever has set its variables wants to see it."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if "OPENCV_LOG_LEVEL" in os.environ:
        return
    os.environ["OPENCV_LOG_LEVEL"] = "SILENT"
    if (cv2 := sys.modules.get("cv2")) is not None:
        opencv_log(cv2).setLogLevel(OPENCV_SILENT)


def opencv_log(cv2: Any) -> Any:
    """What has ``getLogLevel`` and ``setLogLevel`` in the module ``cv2``: OpenCV 5 has moved both."""
    return cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging
