"""``predict``."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from ..errors import SourceError
from .options import (
    DeviceOption,
    JsonOption,
    ModelOption,
    OutputOption,
    OverwriteOption,
    PrecisionOption,
    RoiOption,
    ServerOption,
    SourceOption,
    as_roi,
    asked_precision,
)
from .summary import print_summary, say_unfinished
from .verdict_lines import SortOption, VerdictLines

__all__ = ["predict"]


def predict(
    model: ModelOption,
    source: SourceOption,
    output: OutputOption = None,
    device: DeviceOption = "CPU",
    server: ServerOption = None,
    roi: RoiOption = None,
    inference_precision: PrecisionOption = None,
    recursive: Annotated[
        bool, typer.Option("--recursive/--no-recursive", help="Of a folder, its subfolders too.")
    ] = True,
    overwrite: OverwriteOption = False,
    sort: SortOption = False,
    as_json: JsonOption = False,
) -> None:
    """Inspect images or a video in one pass: a line for each, and with -o a JSONL line and an annotated image."""
    from ..images.size_limit import PixelLimit, limit_pixels
    from ..inspection.inspector import Inspector
    from ..line.loop import run_loop
    from ..monitoring.status import LineStatus
    from ..sinks.one_pass import one_pass
    from ..sources import open_source
    from ..system import stop_signals

    own = [] if output is None else [output]
    with (
        one_pass(output, overwrite=overwrite) as begin,
        closing(open_source(source, recursive=recursive, leave_out=own)) as frames,
        stop_signals(frames.stop) as asked_to_stop,
    ):
        inspector = Inspector(
            model,
            device,
            roi=as_roi(roi),
            inference_precision=asked_precision(inference_precision),
            server=server,
        )
        status = LineStatus(model_id=inspector.manifest.model_id, source=frames.status)
        lines = VerdictLines(worst_first=sort, silent=as_json)
        try:
            with limit_pixels(PixelLimit(inspector.largest_frame)), begin() as sinks, closing(lines):
                run_loop(frames, inspector, [*sinks, lines], status=status)
        except SourceError:
            print_summary(status.snapshot(), as_json)
            raise
    if asked_to_stop.is_set() and not frames.live:
        say_unfinished()
    print_summary(status.snapshot(), as_json)
