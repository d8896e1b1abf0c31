"""``patchcore-edge``: fit, calibrate, evaluate; other packages add their commands."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from patchcore_edge_runtime.command import new_app, run_app

from . import __version__
from .command_line.fitting import train, tune
from .command_line.measuring import calibrate, data, evaluate
from .command_line.predicting import predict
from .plugins import mount_commands

app = new_app("Fit PatchCore on photos of good parts and export it for the line PC.")
for command in (data, train, tune, calibrate):
    app.command()(command)
app.command(name="eval")(evaluate)
app.command()(predict)
mount_commands(app)
_SHARED = frozenset({"train", "tune", "calibrate", "eval"})
"""Commands that several processes can share."""


@app.callback(invoke_without_command=True)
def _root(
    ctx: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if _is_one_of_several():
        from .fit.distributed.launch import refuse_ranks

        if ctx.invoked_subcommand is not None and ctx.invoked_subcommand not in _SHARED:
            refuse_ranks(ctx.invoked_subcommand)
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point."""
    if not _is_one_of_several():
        run_app(app)
        return
    # Before torch is there. What its stores and exchanges log of a lost process is said in a sentence.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    from .fit.distributed.launch import heard

    with heard():
        run_app(app)


def _is_one_of_several() -> bool:
    """Whether torchrun has started this process beside others."""
    return os.environ.get("WORLD_SIZE", "1") != "1"
