"""Options that several commands have."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..bundle.lower_precision import AskedPrecision
    from ..images.geometry import Roi

__all__ = [
    "BundleAlias",
    "BundleArgument",
    "BundleOption",
    "CacheOption",
    "ConfigOption",
    "DeviceOption",
    "JsonOption",
    "ModelOption",
    "OutputOption",
    "OverwriteOption",
    "PrecisionChoice",
    "PrecisionOption",
    "RoiOption",
    "ServerOption",
    "SourceOption",
    "ThreadsOption",
    "as_bundle",
    "as_roi",
    "asked_precision",
]


class PrecisionChoice(StrEnum):
    """What a bundle's graph is computed in."""

    AUTO = "auto"
    F32 = "f32"
    BF16 = "bf16"
    F16 = "f16"


_Named = TypeVar("_Named", Path, str)

# Of paths ``readable=False``: what may not be read is refused by who reads it, and says which user may not.
BundleOption = Annotated[
    Path, typer.Option("--model", "-m", readable=False, help="Bundle folder that `patchcore-edge export` wrote.")
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="Bundle folder, or a model on a server: grpc://HOST:PORT/MODEL, http://HOST:PORT/MODEL."
    ),
]
ServerOption = Annotated[
    str | None,
    typer.Option(
        help="Model server that scores for the bundle: grpc://HOST:PORT/MODEL or http://HOST:PORT/MODEL. "
        "Default: this PC."
    ),
]
BundleArgument = Annotated[
    Path | None,
    typer.Argument(metavar="BUNDLE", readable=False, help="Bundle folder that `export` wrote. Default: what -m names."),
]
BundleAlias = Annotated[
    Path | None,
    typer.Option("--model", "-m", readable=False, help="The same, as other commands take it. Default: BUNDLE."),
]
"""What other commands call it."""
SourceOption = Annotated[
    str,
    typer.Option("--source", "-s", help="Camera, stream URL, video, image, folder, 'watch:FOLDER' or 'glob*.png'."),
]
DeviceOption = Annotated[str, typer.Option("--device", "-d", help="OpenVINO device: CPU, GPU, NPU, AUTO.")]
RoiOption = Annotated[
    str | None,
    typer.Option("--roi", help="Part of each frame to inspect: X,Y,WIDTH,HEIGHT in pixels. Default: the bundle's."),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(readable=False, help="Folder for OpenVINO's compiled models; speeds up starts. Default: none."),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(min=1, help="CPU threads for inference, where several lines share a PC. Default: all cores."),
]
PrecisionOption = Annotated[
    PrecisionChoice | None,
    typer.Option(
        "--inference-precision",
        help="What the backbone is computed in, of what the bundle was verified for. "
        "Default: the fastest that passes the self-test here.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        readable=False,
        help="Folder for results.jsonl and annotated images. Default: none are written.",
    ),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace an earlier run's results and annotated images in the folder.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        readable=False,
        help="The line's TOML file; options win over it. Default: none, -m and -s say all.",
    ),
]


def asked_precision(choice: PrecisionChoice | None) -> AskedPrecision:
    """What was chosen on the command line; ``auto`` where nothing was."""
    return (choice or PrecisionChoice.AUTO).value


def as_bundle(bundle: _Named | None, model: _Named | None) -> _Named:
    """What was named, by its place or by ``-m``; raises ``ConfigError``."""
    named = model if bundle is None else bundle
    if named is None or not (bundle is None or model is None):
        raise ConfigError("Give one bundle folder: BUNDLE, or -m BUNDLE.")
    return named


def as_roi(text: str | None) -> Roi | None:
    """A region of interest from ``X,Y,WIDTH,HEIGHT``; raises ``ConfigError``."""
    from ..images.geometry import parse_roi

    return None if text is None else parse_roi(text)
