"""``predict``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from ..errors import SourceError
from .options import (
    BundleOption,
    DeviceOption,
    JsonOption,
    PrecisionOption,
    RoiOption,
    SourceOption,
    as_roi,
    asked_precision,
)
from .summary import print_summary

__all__ = ["predict"]


def predict(
    model: BundleOption,
    source: SourceOption,
    output: Annotated[
        Path, typer.Option("--output", "-o", readable=False, help="Folder for results.jsonl and annotated images.")
    ],
    device: DeviceOption = "CPU",
    roi: RoiOption = None,
    inference_precision: PrecisionOption = None,
    recursive: Annotated[
        bool, typer.Option("--recursive/--no-recursive", help="Of a folder, its subfolders too.")
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier run's results and annotated images in the folder.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Inspect images or a video in one pass: a JSONL line and an annotated image for each."""
    from ..images.size_limit import PixelLimit, limit_pixels
    from ..inspection.inspector import Inspector
    from ..line.loop import run_loop
    from ..monitoring.status import LineStatus
    from ..sinks import JsonlSink, OverlaySink
    from ..sinks.one_pass import one_pass_folder
    from ..sources import open_source
    from ..system import stop_signals

    with (
        one_pass_folder(output, overwrite=overwrite) as begin,
        closing(open_source(source, recursive=recursive, leave_out=[output])) as frames,
        stop_signals(frames.stop),
    ):
        inspector = Inspector(model, device, roi=as_roi(roi), inference_precision=asked_precision(inference_precision))
        status = LineStatus(model_id=inspector.manifest.model_id, source=frames.status)
        with limit_pixels(PixelLimit(inspector.largest_frame)), closing(JsonlSink(begin())) as results:
            try:
                run_loop(frames, inspector, [results, OverlaySink(output)], status=status)
            except SourceError:
                print_summary(status.snapshot(), as_json)
                raise
    print_summary(status.snapshot(), as_json)
