"""``run``."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigError
from .options import (
    CacheOption,
    ConfigOption,
    JsonOption,
    PrecisionOption,
    RoiOption,
    ServerOption,
    ThreadsOption,
    as_roi,
)
from .progress import progress_line
from .summary import print_summary

if TYPE_CHECKING:
    from ..display.window import Window
    from ..inspection.inspector import Inspector
    from ..line.runner import Line
    from ..monitoring.status import LineStatus, Snapshot

__all__ = ["is_service", "run"]

_LOG = logging.getLogger(__name__)


def run(  # noqa: PLR0913, PLR0917 - typer wants each option as an argument
    config: ConfigOption = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Bundle folder, or a model on a server (grpc://HOST:PORT/MODEL); needed without -c. "
            "Default: the file's.",
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            "-s",
            help="Camera, stream URL, video, image, folder, 'watch:FOLDER' or 'glob*.png'; needed without -c. "
            "Default: the file's.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", "-d", help="OpenVINO device: CPU, GPU, NPU, AUTO. Default: the file's, else CPU."),
    ] = None,
    server: ServerOption = None,
    roi: RoiOption = None,
    threshold: Annotated[
        float | None, typer.Option(help="Raw score above which a part is NG. Default: the bundle's.")
    ] = None,
    warn_threshold: Annotated[
        float | None, typer.Option(help="Raw score above which a part is WARN. Default: the bundle's.")
    ] = None,
    min_defect_area: Annotated[
        float | None, typer.Option(help="Smallest defect that counts, in frame pixels. Default: 0.")
    ] = None,
    inference_num_threads: ThreadsOption = None,
    inference_precision: PrecisionOption = None,
    every_ms: Annotated[
        float | None, typer.Option(help="Inspect the newest frame every so many milliseconds. Default: each.")
    ] = None,
    recursive: Annotated[
        bool | None, typer.Option("--recursive/--no-recursive", help="Of a folder, its subfolders too. Default: too.")
    ] = None,
    wait: Annotated[
        bool | None,
        typer.Option("--wait/--no-wait", help="Wait for a camera that is not there at the start. Default: do not."),
    ] = None,
    hot_swap: Annotated[
        bool | None, typer.Option(help="Change to a new bundle when the folder changes. Default: do not.")
    ] = None,
    show: Annotated[bool, typer.Option(help="Show the annotated frames in a window; q or Esc ends.")] = False,
    save_ng: Annotated[
        Path | None, typer.Option(readable=False, help="Folder for NG, WARN and ERROR frames. Default: none.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(readable=False, help="JSONL file to append a line per frame to. Default: none.")
    ] = None,
    save_video: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            help="Annotated video to write, such as line.mp4; an earlier one is kept under a number. Default: none.",
        ),
    ] = None,
    cache_dir: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Inspect a camera, a stream, a video or images, frame by frame.

    Ctrl-C and SIGTERM end it after the frame in hand. Every setting of the file can also be given in the environment:
    PATCHCORE_EDGE_DEVICE is `device`, PATCHCORE_EDGE_SOURCE__WAIT is `wait` in the table `source`.
    """
    from ..line.config_file import load_lines
    from ..line.runner import run_line
    from ..line.several import SeveralLines
    from ..sources import is_live

    overrides = {
        "bundle": model,
        "source.uri": source,
        "server.uri": server,
        "device": device,
        "inspect.roi": as_roi(roi),
        "thresholds.image": threshold,
        "thresholds.warn": warn_threshold,
        "inspect.min_defect_area": min_defect_area,
        "trigger.mode": None if every_ms is None else "interval",
        "trigger.every_ms": every_ms,
        "source.recursive": recursive,
        "source.wait": wait,
        "hot_swap": hot_swap,
        "cache_dir": cache_dir,
        "inference_num_threads": inference_num_threads,
        "inference_precision": inference_precision and inference_precision.value,
        **_outputs(results, save_ng, save_video),
    }
    file = load_lines(config, overrides, os.environ)
    # Also where a recording turns out to end early: what was inspected counts.
    say = partial(print_summary, as_json=as_json, several=file.several)
    if file.several:
        if show:
            raise ConfigError(f"{config} describes several lines, and --show has one window; open their web page.")
        SeveralLines(file).run(say)
        return
    line = file.lines[0]
    service = is_service({"config": config, "source": source})
    now = run_line(
        line,
        make_viewer=_open_window if show else None,
        during=partial(_told, service=service),
        at_end=say,
    )
    # A camera's line goes on for good and counts; of files somebody wants every result.
    if not is_live(line.source.uri):
        _check_outputs(now)


@contextmanager
def _told(line: Line, *, service: bool) -> Iterator[None]:
    """Say what the line does, in its log where it has one, and how far it is."""
    from ..line.announcement import announced

    sentences = announced(line)
    if service:
        _LOG.info(" ".join(sentences))
    elif _LOG.isEnabledFor(logging.WARNING):  # without --quiet
        typer.echo("\n".join(sentences), err=True)
    with progress_line(line.status) if _LOG.isEnabledFor(logging.WARNING) else nullcontext():
        yield


def is_service(options: dict[str, Any]) -> bool:
    """Whether ``run`` goes on for good: by a line's file, or with a camera, a stream or a folder that is watched."""
    from ..sources import is_live, is_watched

    source = options["source"]
    return options["config"] is not None or (source is not None and (is_live(source) or is_watched(source)))


def _outputs(results: Path | None, save_ng: Path | None, save_video: Path | None) -> dict[str, Any]:
    """The outputs named on the command line, as tables that a line's file could have too."""
    tables: dict[str, dict[str, Any]] = {
        "results": {"kind": "jsonl", "path": results, "max_mb": 0},
        "save-ng": {"kind": "archive", "folder": save_ng},
        "save-video": {"kind": "video_file", "path": save_video},
    }
    return {f"sinks.{name}": table for name, table in tables.items() if None not in table.values()}


def _check_outputs(now: Snapshot) -> None:
    for name, sink in now.sinks.items():
        if name in ("results", "save-ng", "save-video") and sink.failed:
            raise ConfigError(
                f"--{name} refused {sink.failed} of {now.frames} records; make room or choose another place."
            )


def _open_window(inspector: Inspector, status: LineStatus, live: bool) -> Window:
    from ..display.window import Window

    return Window(inspector, status, live=live)
