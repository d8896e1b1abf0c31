"""What the command lines of both distributions share: errors become one sentence and an exit code."""

from __future__ import annotations

import codecs
import errno
import os
import sys
from collections import Counter
from collections.abc import Callable
from io import TextIOWrapper
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperOption

from .errors import PatchcoreEdgeError, shortened, user_name
from .opencv_check import explain_opencv
from .path_text import encodable
from .shown import shown
from .system import end_process

__all__ = ["new_app", "run_app"]

_USAGE, _INTERRUPTED = 2, 130
_NOBODY_READS = (errno.EPIPE, errno.EIO)
_PLAIN = "patchcore-edge-plain"
_SIGNS = {"→": "->", "–": "-", "…": "...", "×": "x", "‖": "|"}


def _in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    plain = "".join(_SIGNS.get(sign) or encodable(sign) for sign in text)
    return plain.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error(_PLAIN, _in_plain_letters)


class _Command(TyperCommand):
    """Refuses an option that is given twice and takes one value: the last one would win in silence."""

    # Any: typer brings a click of its own, or uses the one that is installed, by its version.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for parameter, times in Counter(order).items():
            if times > 1 and isinstance(parameter, TyperOption) and not (parameter.multiple or parameter.count):
                ctx.fail(_twice(parameter, times))
        return super().parse_args(ctx, args)


def _twice(option: TyperOption, times: int) -> str:
    name = max(option.opts, key=len)
    if "comma separated" in (option.help or ""):
        return f"{name} is given {times} times; give it once, its values separated by commas: {name} A,B."
    return f"{name} is given {times} times; give it once."


class _App(typer.Typer):
    def command(self, name: str | None = None, **words: Any) -> Callable[[Any], Any]:
        """A command as typer makes it, of our own class."""
        return super().command(name, **{"cls": _Command, **words})


def new_app(help_text: str) -> typer.Typer:
    """A typer application that shows help when called bare and leaves errors to ``run_app``.

    In all its commands an option that takes one value may be given once.
    """
    return _App(help=help_text, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def run_app(app: typer.Typer) -> None:
    """Run ``app`` on the command line's words and end the process.

    Exit codes: 0 done; 2 usage, configuration or data; 3 device or source; 4 bundle integrity or parity; 130 Ctrl-C.
    """
    _speak_plainly()
    try:
        app()
    except PatchcoreEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        end_process(error.exit_code)
    except (ImportError, AttributeError):
        sentence = explain_opencv()
        if not sentence:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(PatchcoreEdgeError.exit_code)
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # typer's way to say Ctrl-C, without a word to the person who pressed it
            print("stopped.", file=sys.stderr)
        if isinstance(end.code, int):
            end_process(end.code)
        raise
    except OSError as error:
        _end_of(error)


def _end_of(error: OSError) -> NoReturn:
    if error.errno in _NOBODY_READS:
        # The reader of our output has gone (`… | head`, a terminal that was closed); Python would complain once more
        # while closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    # No mistake of the program: a name too long, a folder of somebody else, a disk that does not answer.
    print(f"error: {_about(error)}", file=sys.stderr)
    end_process(_USAGE)


def _about(error: OSError) -> str:
    place = shortened(shown(error.filename)) if error.filename is not None else "A file or a connection"
    return f"{place} cannot be used by {user_name()} ({error.strerror or error}); check it and who may use it."


def _speak_plainly() -> None:
    """Names of files and arrows must not end a command on a Windows console, or in a log that takes fewer letters."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_PLAIN)
