"""``check``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["check"]


def check(
    config: Annotated[Path, typer.Option("--config", "-c", readable=False, help="The line's TOML file.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the settings as JSON, with all that is implied.")
    ] = False,
) -> None:
    """Check a line's file: every key, where the sinks write, the bundle and its self-test; starts nothing."""
    from ..line.config_file import load_line
    from ..line.runner import open_inspector
    from ..line.watch_state import check_watch_state
    from ..opencv_check import explain_two_packages
    from ..shown import shown_url, shown_values
    from ..sinks.check import check_sinks

    line = load_line(config, {}, os.environ)
    for note in [*check_sinks(line.sinks, line.folder), *check_watch_state(line)]:
        typer.echo(f"note: {note}", err=True)
    inspector = open_inspector(line)
    if packages := explain_two_packages():
        typer.echo(f"Warning: {packages}", err=True)
    model, computed_in = inspector.manifest.model_id, inspector.inference_precision
    if as_json:
        facts = {**line.model_dump(mode="json"), "model_id": model, "computed_in": computed_in}
        typer.echo(json.dumps(shown_values(facts)))
        return
    uri = shown_url(line.source.uri)
    typer.echo(f"{config} is in order: {line.name}, {uri} → {model} on {line.device} in {computed_in}")
