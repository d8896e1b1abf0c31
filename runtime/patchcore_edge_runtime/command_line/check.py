"""``check``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigError, PatchcoreEdgeError

if TYPE_CHECKING:
    from ..inspection.inspector import Inspector
    from ..inspection.shared_models import SharedModels
    from ..line.config import LineConfig

__all__ = ["check"]


def check(
    config: Annotated[Path, typer.Option("--config", "-c", readable=False, help="The line's TOML file.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the settings as JSON, with all that is implied.")
    ] = False,
) -> None:
    """Check a line's file: every key, where the sinks write, the bundle and its self-test; starts nothing."""
    from ..inspection.shared_models import SharedModels
    from ..line.config_file import load_lines
    from ..opencv_check import explain_two_packages
    from ..shown import shown_url, shown_values
    from ..sinks.check import check_sinks

    file = load_lines(config, {}, os.environ)
    models = SharedModels(len(file.lines))
    faults: list[PatchcoreEdgeError] = []
    # Kept to the end: a model is shared as long as somebody has it.
    inspectors = [_check_line(line, models, faults, f"{line.name}: " if file.several else "") for line in file.lines]
    if file.server is not None:
        _look(partial(check_sinks, {"http": file.server}, file.lines[0].folder), faults)
    if faults:
        # All of them in one go; the code is the first one's.
        raise type(faults[0])(" ".join(dict.fromkeys(str(fault) for fault in faults)))
    if packages := explain_two_packages():
        typer.echo(f"Warning: {packages}", err=True)
    for line, inspector in zip(file.lines, inspectors, strict=True):
        assert inspector is not None  # or there are faults
        model_id = inspector.manifest.model_id
        # What a server computes in is its own affair.
        computed_in = inspector.inference_precision if line.server is None else ""
        if as_json:
            facts: dict[str, Any] = {**line.model_dump(mode="json"), "model_id": model_id, "computed_in": computed_in}
            typer.echo(json.dumps(shown_values(facts)))
        else:
            uri = shown_url(line.source.uri)
            place = line.device if line.server is None else inspector.execution_devices[0]
            where = f"{place} in {computed_in}" if computed_in else place
            typer.echo(f"{config} is in order: {line.name}, {uri} → {model_id} on {where}")


def _check_line(
    line: LineConfig, models: SharedModels, faults: list[PatchcoreEdgeError], whose: str
) -> Inspector | None:
    """What judges; None where it does not open. What is wrong is added to ``faults``."""
    from ..line.runner import open_inspector
    from ..line.watch_state import check_watch_state
    from ..sinks.check import check_sinks

    _look(partial(check_sinks, line.sinks, line.folder), faults, whose)
    _look(partial(check_watch_state, line), faults, whose)
    try:
        return open_inspector(line, models=models)
    except PatchcoreEdgeError as error:
        faults.append(error)
        return None


def _look(look: Callable[[], list[str]], faults: list[PatchcoreEdgeError], whose: str = "") -> None:
    """Print what is found worth a note; what is refused is added to ``faults``."""
    try:
        for note in look():
            typer.echo(f"note: {note}", err=True)
    except ConfigError as error:
        faults.append(ConfigError(f"{whose}{error}"))
