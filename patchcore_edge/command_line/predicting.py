"""``predict``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from patchcore_edge_runtime.command_line.options import JsonOption, OutputOption, OverwriteOption
from patchcore_edge_runtime.command_line.summary import print_summary, say_unfinished
from patchcore_edge_runtime.command_line.verdict_lines import SortOption, VerdictLines

from ..gc_paused import gc_paused
from .options import RecursiveOption, RunArgument, TorchDevice
from .values import as_data

__all__ = ["predict"]


def predict(
    run: RunArgument,
    images: Annotated[
        Path,
        typer.Argument(
            help="An image, a folder of images, a list of files, or tar shards.", parser=as_data, metavar="IMAGES"
        ),
    ],
    output: OutputOption = None,
    device: TorchDevice = "auto",
    recursive: RecursiveOption = True,
    overwrite: OverwriteOption = False,
    sort: SortOption = False,
    as_json: JsonOption = False,
) -> None:
    """Judge images by a calibrated run, before any export: a line for each, and with -o what the line writes."""
    with gc_paused():
        from patchcore_edge_runtime.monitoring.status import LineStatus
        from patchcore_edge_runtime.sinks.one_pass import one_pass
        from patchcore_edge_runtime.system import stop_signals

        from ..jobs.predict import RunInspector, open_images

    own = [] if output is None else [output]
    with one_pass(output, overwrite=overwrite) as begin:
        source = open_images(images, recursive=recursive, leave_out=own)
        inspector = RunInspector(run, device)
        status = LineStatus(model_id=inspector.model_id, source=source.status)
        lines = VerdictLines(worst_first=sort, silent=as_json)
        status.start()
        with stop_signals(source.stop) as asked_to_stop, begin() as sinks, closing(lines):
            for frame in source:
                record = inspector(frame)
                status.add(record.result)
                for sink in (*sinks, lines):
                    sink.write(record)
        status.finish()
    if asked_to_stop.is_set():
        say_unfinished()
    print_summary(status.snapshot(), as_json)
