"""``repository``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["repository"]


def repository(
    bundles: Annotated[
        list[str],
        typer.Argument(
            metavar="BUNDLE...", help="Bundle folders, or NAME=FOLDER; those of one name are its versions 1, 2 …"
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", readable=False, help="Folder to write.")],
    device: Annotated[str, typer.Option("--device", "-d", help="Device that OpenVINO Model Server uses.")] = "CPU",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier repository there.")] = False,
) -> None:
    """Write bundles as a folder that OpenVINO Model Server and other servers of KServe v2 load."""
    from ..serving.model_repository import write_repository

    for one in write_repository(bundles, output, device=device, overwrite=overwrite):
        manifest = one.bundle.manifest
        height, width = manifest.preprocess.input_size
        typer.echo(f"{one.name} version {one.version}: {manifest.model_id}, frames {manifest.batch}x{height}x{width}x3")
