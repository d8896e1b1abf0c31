"""``patchcore-edge-runtime``: the commands on the line PC."""

from __future__ import annotations

from typing import Annotated

import typer

from .command import new_app, run_app
from .command_line.benchmark import benchmark
from .command_line.bundles import edit, info
from .command_line.check import check
from .command_line.devices import devices
from .command_line.health import health
from .command_line.init import init
from .command_line.predict import predict
from .command_line.repository import repository
from .command_line.run import is_service, run
from .command_line.swap import swap
from .version import __version__

app = new_app("Inspect camera frames with a PatchCore bundle on OpenVINO.")
app.command(is_service=is_service)(run)
for command in (
    init,
    check,
    health,
    benchmark,
    predict,
    info,
    edit,
    swap,
    repository,
    devices,
):
    app.command()(command)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point."""
    run_app(app)
