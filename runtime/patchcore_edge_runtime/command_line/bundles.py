"""``info`` and ``edit``."""

from __future__ import annotations

import json
import re
from typing import Annotated

import typer

from ..errors import ConfigError
from .options import BundleAlias, BundleArgument, as_bundle

__all__ = ["edit", "info"]

_CANVAS = 256
"""Pixels a side of the frame that masks are drawn on to see whether they leave anything."""


def info(
    bundle: Annotated[
        str | None,
        typer.Argument(
            metavar="BUNDLE",
            help="Bundle folder, or a model on a server: grpc://HOST:PORT/MODEL. Default: what -m names.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The same, as other commands take it. Default: BUNDLE.")
    ] = None,
) -> None:
    """Print the manifest of a bundle after checking every file in it, or the one that a model server has."""
    from ..bundle.calibration_facts import without_folders
    from ..inspection.opened_backend import as_server, open_bundle

    named = as_bundle(bundle, model)
    manifest = open_bundle(named, as_server(named, None)).manifest
    facts = {"model_id": manifest.model_id, **manifest.model_dump(mode="json")}
    # Bundles of earlier versions name the folder with all that it was in.
    facts["calibration"]["data"] = without_folders(manifest.calibration.data)
    # Numbers side by side: a golden map is 8 rows, and not 64.
    text = re.sub(r"\[[^][{}\"]+\]", lambda numbers: " ".join(numbers[0].split()), json.dumps(facts, indent=2))
    typer.echo(text)


def edit(
    *,
    bundle: BundleArgument = None,
    model: BundleAlias = None,
    by: Annotated[str, typer.Option("--by", help="Who makes the change; it is kept in the bundle's history.")],
    image_threshold: Annotated[
        float | None, typer.Option(help="Raw image score above which a part is NG. Default: stays.")
    ] = None,
    pixel_threshold: Annotated[
        float | None, typer.Option(help="Raw map value above which a pixel is anomalous. Default: stays.")
    ] = None,
    warn_threshold: Annotated[
        float | None, typer.Option(help="Raw image score above which a part is WARN. Default: stays.")
    ] = None,
    no_warn: Annotated[bool, typer.Option("--no-warn", help="Take the WARN threshold away.")] = False,
    labels: Annotated[
        tuple[str, str] | None, typer.Option(help="Two words: for a good part and for an anomalous one. Default: stay.")
    ] = None,
    ignore_mask: Annotated[
        list[str] | None,
        typer.Option(
            help="Corners 'x,y x,y x,y' in fractions of the frame; several times for several masks. Default: stay."
        ),
    ] = None,
    no_masks: Annotated[bool, typer.Option("--no-masks", help="Take all ignore masks away.")] = False,
) -> None:
    """Change thresholds, labels or ignore masks of a bundle and record who changed what."""
    from ..bundle.edit import BundleEdit, edit_bundle
    from ..images.geometry import parse_polygon
    from ..inspection.ignore_mask import IgnoreMask
    from ..monitoring.calibration import outlook

    if no_warn and warn_threshold is not None:
        raise ConfigError("--warn-threshold and --no-warn exclude each other; give one.")
    if no_masks and ignore_mask:
        raise ConfigError("--ignore-mask and --no-masks exclude each other; give one.")
    masks = () if no_masks else tuple(parse_polygon(text) for text in ignore_mask) if ignore_mask else None
    if masks and IgnoreMask(masks).mask((_CANVAS, _CANVAS)).all():
        raise ConfigError("The ignore masks leave nothing of the frame to inspect; make them smaller.")
    change = BundleEdit(
        image=image_threshold,
        pixel=pixel_threshold,
        warn=warn_threshold,
        no_warn=no_warn,
        labels=labels,
        ignore_masks=masks,
    )
    manifest, records = edit_bundle(as_bundle(bundle, model), change, by)
    for record in records:
        typer.echo(f"{record.field}: {record.before} → {record.after}")
    if any(record.field == "thresholds.image" for record in records) and (
        told := outlook(manifest, manifest.thresholds)
    ):
        typer.echo(told)
