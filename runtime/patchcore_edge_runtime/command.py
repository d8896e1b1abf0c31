"""What the command lines of both distributions share: errors become one sentence and an exit code."""

from __future__ import annotations

import os
import sys

import typer

from .errors import PatchcoreEdgeError

__all__ = ["new_app", "run_app"]

_INTERRUPTED = 130


def new_app(help_text: str) -> typer.Typer:
    """A typer application that shows help when called bare and leaves errors to ``run_app``."""
    return typer.Typer(help=help_text, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def run_app(app: typer.Typer) -> None:
    """Run ``app`` on the command line's words and end the process.

    Exit codes: 0 done; 2 usage, configuration or data; 3 device or source; 4 bundle integrity or parity; 130 Ctrl-C.
    """
    try:
        app()
    except PatchcoreEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # typer's way to say Ctrl-C, without a word to the person who pressed it
            print("stopped.", file=sys.stderr)
        raise
    except BrokenPipeError:
        # The reader of our output has gone (`… | head`); Python would complain once more while closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
