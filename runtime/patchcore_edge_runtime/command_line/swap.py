"""``swap``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..bundle.bundle import Bundle

__all__ = ["swap"]


def swap(
    new: Annotated[Path, typer.Argument(readable=False, help="Bundle folder to use from now on; it is copied.")],
    place: Annotated[
        Path | None,
        typer.Argument(readable=False, help="Bundle folder, or link to one, that a line uses. Default: as -c says."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", readable=False, help="The line's file, whose bundle is replaced. Default: as PLACE says."
        ),
    ] = None,
) -> None:
    """Put another bundle in the place of the one that a line uses, whole or not at all, and keep the old one.

    With -c the new bundle first has to pass that line's checks and its self-test on its device. A line with
    `hot_swap = true` takes it within seconds while it runs. To go back, swap the bundle that was kept in again.
    """
    from ..bundle.swap import swap_bundle

    if (place is None) == (config is None):
        raise ConfigError("Give the place of the old bundle, or -c line.toml; one of the two.")
    done = swap_bundle(new, place if place is not None else _place_of(config, new))
    before = "nothing" if done.before is None else f"{done.before.manifest.model_id}, {_limits(done.before)}"
    typer.echo(f"{before} → {done.after.manifest.model_id}, {_limits(done.after)}")
    if done.kept is not None:
        typer.echo(f"The old one is {done.kept}.")


def _place_of(config: Path | None, new: Path) -> Path:
    """Where the bundle of a file's lines lies, once the new one has passed the checks of each."""
    from ..inspection.shared_models import SharedModels
    from ..line.config_file import load_lines
    from ..line.runner import open_inspector

    lines = load_lines(config, {}, os.environ).lines
    places = {line.bundle_folder for line in lines}
    if len(places) != 1 or None in places:
        raise ConfigError(f"The lines of {config} have no one bundle folder together; give its place instead of -c.")
    models = SharedModels(len(lines))
    # Kept to the end: a model is shared as long as somebody has it.
    _inspectors = [open_inspector(line, new.absolute(), models) for line in lines]
    return next(place for place in places if place is not None)


def _limits(bundle: Bundle) -> str:
    return f"image threshold {bundle.manifest.thresholds.image:.4g}, manifest {bundle.digest[:12]}"
