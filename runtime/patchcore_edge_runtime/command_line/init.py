"""``init``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from ..atomic_folder import replace_text
from ..errors import ConfigError, cannot_write
from .options import BundleOption, SourceOption

__all__ = ["init"]

_ONLY_THE_USER = 0o600
_READABLE = 0o644


def init(
    model: BundleOption,
    source: SourceOption,
    output: Annotated[
        Path, typer.Option("--output", "-o", readable=False, help="File to write; its schema is written beside it.")
    ] = Path("line.toml"),
    name: Annotated[str | None, typer.Option(help="What people call the line. Default: the bundle's name.")] = None,
) -> None:
    """Write a commented file to start a line from: its keys, what they do, and the bundle's own thresholds.

    Nothing is started; check it with `check -c`, run it with `run -c`.
    """
    from ..bundle.bundle import Bundle
    from ..line.config_file import load_lines
    from ..line.schema import SCHEMA_FILE, line_schema
    from ..line.starter import starter_file
    from ..shown import shown_url
    from ..sources import source_in

    if output.exists():
        raise ConfigError(f"{output} is there already; choose another -o, or take it away.")
    manifest = Bundle.load(model).manifest
    folder, bundle = output.absolute().parent, str(model.absolute())
    # The same folder or address, as the file's own folder is where it is looked for.
    near = _below(bundle, folder)
    bundle = near if str(folder / near) == bundle else bundle
    uri = source_in(Path.cwd(), source)
    near = _below(uri, folder)
    uri = near if source_in(folder, near) == uri else uri
    text = starter_file(manifest, bundle, uri, (name or manifest.name)[:80])
    # Whatever is not shown of it may be one: before an @, in the query, or a part of the path, as recorders have it.
    secret = shown_url(source).rstrip("/") != source.rstrip("/")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        _write_anew(output, text, _ONLY_THE_USER if secret else _READABLE)
        try:
            schema = json.dumps(line_schema(), indent=2, ensure_ascii=False)
            replace_text(output.parent / SCHEMA_FILE, f"{schema}\n")
        except OSError:
            output.unlink()
            raise
    except OSError as error:
        raise cannot_write(output, error) from None
    load_lines(output, {}, {})
    typer.echo(f"Wrote {output}, and beside it {SCHEMA_FILE} for editors.")
    if secret:
        typer.echo(
            "The source's address may have a password in it, so that only you may read the file; better: keys", err=True
        )
        typer.echo("username and password_env in [source].", err=True)
    typer.echo(f"Next: patchcore-edge-runtime check -c {output}")


def _write_anew(file: Path, text: str, mode: int) -> None:
    """Write all of it or nothing: no other program's file is replaced, and no password is readable for a moment."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
    except OSError:
        file.unlink()
        raise


def _below(text: str, folder: Path) -> str:
    """A name with its path relative to a folder, where it is in it: both can be moved together then."""
    return text.replace(f"{folder}{os.sep}", "", 1)
