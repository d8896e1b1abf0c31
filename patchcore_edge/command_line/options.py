"""Options that several commands have."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .values import as_data

__all__ = [
    "BitDepthOption",
    "DataArgument",
    "DataOption",
    "GoodOption",
    "GroupOption",
    "IgnoreMaskOption",
    "JsonOption",
    "Precision",
    "RecursiveOption",
    "RoiOption",
    "RunArgument",
    "StrictOption",
    "TestData",
    "TorchDevice",
    "WeightsOption",
]

_LAYOUTS = (
    "MVTec AD layout or VisA's, a folder of good images, a list of files (CSV, Parquet), or tar shards; a path or a "
    "URL; see docs/data.md."
)
DataArgument = Annotated[Path, typer.Argument(help=_LAYOUTS, parser=as_data, metavar="DATA")]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help=f"{_LAYOUTS} Default: what `train` was given.", parser=as_data, metavar="DATA"),
]
RunArgument = Annotated[Path, typer.Argument(help="Folder that `train` wrote.", metavar="RUN")]
TestData = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="MVTec AD layout, of which test/good and test/<defect> are enough; VisA's; a list; or tar shards. "
        "Default: what `train` was given.",
        parser=as_data,
        metavar="DATA",
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        help="Backbone weights: .safetensors, .pth, or 'hub' to download timm's. Default: <backbone>.safetensors in "
        "the folder that PATCHCORE_EDGE_WEIGHTS names, else a package that holds them."
    ),
]
TorchDevice = Annotated[str, typer.Option("--device", "-d", help="torch device: auto, cpu, cuda, xpu.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Precision(StrEnum):
    """Of a graph that is timed."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


GroupOption = Annotated[
    str | None,
    typer.Option(
        help="Pattern (regular expression) that finds an image's batch in its path, such as '^([^_]+)_'. "
        "Default: each subfolder is a batch."
    ),
]
GoodOption = Annotated[
    list[str] | None,
    typer.Option(
        "--good",
        metavar="NAME",
        help="Name of the folder of good parts, where it is not called good, OK, normal …; several times for several. "
        "Default: the folder with such a name.",
    ),
]
RecursiveOption = Annotated[bool, typer.Option("--recursive/--no-recursive", help="Take the images in subfolders too.")]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", help="Stop where anything about the data is doubtful, or an image cannot be read."),
]
RoiOption = Annotated[
    str | None,
    typer.Option(
        "--roi",
        help="Part of each photo and frame to look at: X,Y,WIDTH,HEIGHT in pixels. The run and the bundle carry it. "
        "Default: all of it.",
    ),
]
IgnoreMaskOption = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore-mask",
        help="Corners 'x,y x,y x,y' in fractions of the frame within which nothing counts; several times for several. "
        "The run and the bundle carry them. Default: none.",
    ),
]
BitDepthOption = Annotated[
    str | None,
    typer.Option(
        "--bit-depth",
        help="Bits that 16-bit photos and frames use, 8 to 16. Default: found from the largest value of all photos.",
    ),
]
