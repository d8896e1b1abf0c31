"""What the command lines of both distributions share: errors become one sentence and an exit code."""

from __future__ import annotations

import codecs
import errno
import inspect
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import typer
from pydantic import ValidationError
from typer.core import TyperCommand, TyperOption

from .errors import PatchcoreEdgeError, UnforeseenError, shortened, user_name
from .interrupts import INTERRUPTED
from .logs import LogFormat, error_line, failure_text, log_to_stderr
from .opencv_check import explain_opencv
from .path_text import encodable, home_path
from .shown import shown
from .system import end_process, keep_standard_descriptors
from .threads import describe_failure
from .validation import first_fault

__all__ = ["new_app", "run_app"]

_USAGE, _SHORTAGE, _FAULT, _NOBODY_READS = 2, 3, 70, 141
_NOTHING_LEFT = "This machine has no memory, threads or files left for this program; close others, or raise its limits."
_TRACEBACK = "PATCHCORE_EDGE_TRACEBACK"
"""While set, an unforeseen exception is printed with all that Python knows of it."""
_PLAIN = "patchcore-edge-plain"
_PATHS = {"path", "file", "directory"}
"""What click calls the types of its paths."""
_LOG_PANEL: dict[str, Any] = {"rich_help_panel": "Log"}
_SIGNS = {"→": "->", "–": "-", "…": "...", "×": "x", "‖": "|"}


def _in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    plain = "".join(_SIGNS.get(sign) or encodable(sign) for sign in text)
    return plain.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error(_PLAIN, _in_plain_letters)


class _Command(TyperCommand):
    """Refuses what would switch something off in silence.

    An option that is given twice and takes one value, of which the last would win; a word that is empty, as of a
    variable that is not set, which as a path would be the folder at hand; ``-`` as a file; and a number that is none.
    A path may begin with ``~``, which shells leave as it is in ``--results=~/r.jsonl``.
    """

    # Any: typer brings a click of its own, or uses the one that is installed, by its version.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for parameter, times in Counter(order).items():
            word = words.get(parameter.name)
            if "" in (word if isinstance(word, list | tuple) else [word]):
                ctx.fail(f"{_called(parameter)} is empty; give a value (is a variable of the shell not set?).")
            if times > 1 and isinstance(parameter, TyperOption) and not (parameter.multiple or parameter.count):
                ctx.fail(_twice(parameter, times))
        try:
            rest = super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = _in_our_words(error.message)
            raise
        self._look_at_values(ctx, words)
        return rest

    def _look_at_values(self, ctx: Any, words: dict[str, Any]) -> None:
        # Newer typers have made paths of them by now, older ones know only of which type they are to be.
        paths = {one.name for one in self.params if getattr(getattr(one, "type", None), "name", "") in _PATHS}
        paths |= {name for name, value in ctx.params.items() if isinstance(value, Path)}
        for name, value in ctx.params.items():
            if isinstance(value, float) and not math.isfinite(value):
                ctx.fail(f"--{name.replace('_', '-')} is {value}; give a finite number.")
            if words.get(name) == "-" and (name in paths or name == "source"):
                ctx.fail(f"- as the {name} is no file here; give a path.")
            if name in paths and isinstance(value, str | Path) and (home := home_path(value)) != str(value):
                ctx.params[name] = Path(home)


def _in_our_words(message: str) -> str:
    """What typer says of a word, without the grammar of whoever checks it."""
    message = re.sub(r"Value error, |, unable to parse string as an? \w+", "", message)
    return message.replace("Input should be", "it should be")


def _called(parameter: Any) -> str:
    return max(parameter.opts, key=len) if isinstance(parameter, TyperOption) else parameter.name.upper()


def _twice(option: TyperOption, times: int) -> str:
    name = _called(option)
    if "comma separated" in (option.help or ""):
        return f"{name} is given {times} times; give it once, its values separated by commas: {name} A,B."
    return f"{name} is given {times} times; give it once."


IsService = Callable[[dict[str, Any]], bool]

VerboseOption = Annotated[
    int, typer.Option("--verbose", "-v", count=True, show_default=False, help="Say more; -vv: all.", **_LOG_PANEL)
]
QuietOption = Annotated[
    int, typer.Option("--quiet", "-q", count=True, show_default=False, help="Say less; -qq: errors only.", **_LOG_PANEL)
]
FormatOption = Annotated[LogFormat, typer.Option(help="How a line of the log looks.", **_LOG_PANEL)]


def _with_log(function: Callable[..., Any], is_service: IsService) -> Callable[..., Any]:
    """The command with the options of the log, which is set up while it runs."""
    signature = inspect.signature(function, eval_str=True)

    @wraps(function)
    def run(**words: Any) -> Any:
        verbosity = words.pop("verbose") - words.pop("quiet")
        log_format = words.pop("log_format")
        with log_to_stderr(verbosity=verbosity, log_format=log_format, service=is_service(words)):
            return function(**words)

    options = (("verbose", VerboseOption, 0), ("quiet", QuietOption, 0), ("log_format", FormatOption, LogFormat.TEXT))
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option)
        for name, option, default in options
    ]
    parameters = [*signature.parameters.values(), *added]
    # What typer reads, in place of the function's own.
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


class _App(typer.Typer):
    def command(
        self, name: str | None = None, *, is_service: IsService = lambda _: False, **words: Any
    ) -> Callable[[Any], Any]:
        """A command as typer makes it, of our own class and with the options of the log.

        Args:
            name: of the command; its function's when absent.
            is_service: whether it runs for good, by its options: its log says time, level and source in each line.
            words: typer's.
        """
        made = super().command(name, **{"cls": _Command, **words})

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            made(_with_log(function, is_service))
            return function

        return register


def new_app(help_text: str) -> _App:
    """A typer application that shows help when called bare and leaves errors to ``run_app``.

    In all its commands an option that takes one value may be given once.
    """
    return _App(help=help_text, no_args_is_help=True, pretty_exceptions_enable=False)


def run_app(app: typer.Typer) -> None:
    """Run ``app`` on the command line's words and end the process.

    Exit codes: 0 done; 2 usage, configuration or data, and what the operating system refuses; 3 device, source, or a
    machine that has no memory, threads or files left; 4 bundle integrity or parity; 70 a fault of this program;
    130 Ctrl-C; 141 nobody reads what is printed. Never 1.
    """
    keep_standard_descriptors()
    output = sys.stdout
    try:
        _run(app, output)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer's way to say Ctrl-C, without a word to the person who pressed it
            _say("stopped.")
        if sys.stdout is not output:  # typer's way to say that the reader of our output has gone (`… | head`)
            _end(_NOBODY_READS)
        if isinstance(end.code, int):
            end_process(end.code)
        raise
    except Exception as error:  # noqa: BLE001 - the one place where a command ends, however it does
        text, code = _last_words(error)
        if text:
            # The log of a line is read by those who mend it: what nobody foresaw is told with where it comes from.
            _say(error_line(text, error.__cause__ if isinstance(error, UnforeseenError) else None))
        if isinstance(error, OSError):
            _end(code)
        end_process(code)


def _run(app: typer.Typer, output: TextIO | None) -> None:
    for stream in (output, sys.stderr):
        # Names of files and arrows must not end a command on a Windows console, or in a log that takes fewer letters.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_PLAIN)
    try:
        app()
    except KeyboardInterrupt:  # before typer listens, or after
        sys.exit(INTERRUPTED)
    finally:
        if sys.stdout is output and output is not None:
            output.flush()  # what a full disk refuses is said by us, and not by Python while it ends


def _last_words(error: Exception) -> tuple[str, int]:
    """What is said of an error, and the exit code."""
    if isinstance(error, PatchcoreEdgeError):
        return str(error), error.exit_code
    if _is_shortage(error):
        # That may pass: a service is started again.
        return _NOTHING_LEFT, _SHORTAGE
    if isinstance(error, OSError):
        return _of_the_system(error)
    if isinstance(error, ImportError | AttributeError) and (sentence := explain_opencv()):
        return sentence, _USAGE
    if isinstance(error, ValidationError):  # a value that an option gave to what it describes
        return f"{first_fault(error)}; give another value.", _USAGE
    if os.environ.get(_TRACEBACK):
        _say(failure_text(error))
    fault = describe_failure(error)
    return f"This is a fault of the program ({fault}); report it with what {_TRACEBACK}=1 adds.", _FAULT


def _is_shortage(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "start new thread" in str(error))


def _of_the_system(error: OSError) -> tuple[str, int]:
    """No mistake of the program: a name too long, a folder of somebody else, a disk that is full or does not answer."""
    if error.errno in (errno.EPIPE, errno.EIO) and error.filename is None:
        return "", _NOBODY_READS
    if isinstance(error, FileNotFoundError) and error.filename is None:  # what it says when asked where we are
        return "The folder that this was started in is not there any more; change to one that is there.", _USAGE
    nameless = "A file, a connection or what is printed"
    place = nameless if error.filename is None else encodable(shortened(shown(error.filename)))
    why = error.strerror or str(error)
    return f"{place} cannot be used by {user_name()} ({why}); check the place and who may use it.", _USAGE


def _say(text: str) -> None:
    """On the error output, where there is one that can be written."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)


def _end(code: int) -> NoReturn:
    """End without another word from Python, which would try again to print what could not be printed."""
    for stream in (sys.__stdout__, sys.__stderr__):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()  # type: ignore[union-attr]
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.__stdout__.fileno())  # type: ignore[union-attr]
    end_process(code)
