"""``patchcore-edge-runtime``: the commands on the line PC."""

from __future__ import annotations

import json
import os
from contextlib import closing
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .command import new_app, run_app
from .errors import ConfigError, SourceError
from .version import __version__

if TYPE_CHECKING:
    from .display.window import Window
    from .images.geometry import Roi
    from .inspection.inspector import Inspector
    from .monitoring.status import LineStatus, Snapshot

app = new_app("Inspect camera frames with a PatchCore bundle on OpenVINO.")

# Of paths ``readable=False``: what may not be read is refused by who reads it, and says which user may not.
BundleOption = Annotated[
    Path, typer.Option("--model", "-m", readable=False, help="Bundle folder that `patchcore-edge export` wrote.")
]
SourceOption = Annotated[
    str,
    typer.Option("--source", "-s", help="Camera, stream URL, video, image, folder, 'watch:FOLDER' or 'glob*.png'."),
]
DeviceOption = Annotated[str, typer.Option("--device", "-d", help="OpenVINO device: CPU, GPU, NPU, AUTO.")]
RoiOption = Annotated[str | None, typer.Option("--roi", help="Part of each frame to inspect: X,Y,WIDTH,HEIGHT.")]
CacheOption = Annotated[
    Path | None, typer.Option(readable=False, help="Folder for OpenVINO's compiled models; speeds up starts.")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(min=1, help="CPU threads for inference; all cores unless told. For several lines on one PC."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", readable=False, help="The line's TOML file; options win over it.")
]


class HintChoice(StrEnum):
    """What a device is tuned for."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"


@app.command()
def run(  # noqa: PLR0913, PLR0917 - typer wants each option as an argument
    config: ConfigOption = None,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", readable=False, help="Bundle folder; needed without -c.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            "-s",
            help="Camera, stream URL, video, image, folder, 'watch:FOLDER' or 'glob*.png'; needed without -c.",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", "-d", help="OpenVINO device: CPU, GPU, NPU, AUTO; CPU unless told.")
    ] = None,
    roi: RoiOption = None,
    threshold: Annotated[float | None, typer.Option(help="Raw score above which a part is NG.")] = None,
    warn_threshold: Annotated[float | None, typer.Option(help="Raw score above which a part is WARN.")] = None,
    min_defect_area: Annotated[float | None, typer.Option(help="Smallest defect that counts, in frame pixels.")] = None,
    inference_num_threads: ThreadsOption = None,
    every_ms: Annotated[float | None, typer.Option(help="Inspect the newest frame every so many milliseconds.")] = None,
    recursive: Annotated[
        bool | None, typer.Option("--recursive/--no-recursive", help="Of a folder, its subfolders too; so unless told.")
    ] = None,
    wait: Annotated[
        bool | None, typer.Option("--wait/--no-wait", help="Wait for a camera that is not there at the start.")
    ] = None,
    hot_swap: Annotated[bool | None, typer.Option(help="Change to a new bundle when the folder changes.")] = None,
    show: Annotated[bool, typer.Option(help="Show the annotated frames in a window; q or Esc ends.")] = False,
    save_ng: Annotated[Path | None, typer.Option(readable=False, help="Folder for NG, WARN and ERROR frames.")] = None,
    results: Annotated[
        Path | None, typer.Option(readable=False, help="JSONL file to append a line per frame to.")
    ] = None,
    save_video: Annotated[
        Path | None,
        typer.Option(
            readable=False, help="Annotated video to write, such as line.mp4; an earlier one is kept under a number."
        ),
    ] = None,
    cache_dir: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Inspect a camera, a stream, a video or images, frame by frame.

    Ctrl-C and SIGTERM end it after the frame in hand. Every setting of the file can also be given in the environment:
    PATCHCORE_EDGE_DEVICE is `device`, PATCHCORE_EDGE_SOURCE__WAIT is `wait` in the table `source`.
    """
    from .line.config_file import load_line
    from .line.runner import run_line
    from .sources import is_live

    overrides = {
        "bundle": model,
        "source.uri": source,
        "device": device,
        "inspect.roi": _parse_roi(roi),
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
        **_outputs(results, save_ng, save_video),
    }
    line = load_line(config, overrides, os.environ)
    # Also where a recording turns out to end early: what was inspected counts.
    say = partial(_print_summary, as_json=as_json)
    now = run_line(line, make_viewer=_open_window if show else None, at_end=say)
    # A camera's line goes on for good and counts; of files somebody wants every result.
    if not is_live(line.source.uri):
        _check_outputs(now)


@app.command()
def check(
    config: Annotated[Path, typer.Option("--config", "-c", readable=False, help="The line's TOML file.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the settings as JSON, with all that is implied.")
    ] = False,
) -> None:
    """Check a line's file: every key, where the sinks write, the bundle and its self-test; starts nothing."""
    from .line.config_file import load_line
    from .line.runner import open_inspector
    from .line.watch_state import check_watch_state
    from .opencv_check import explain_two_packages
    from .shown import shown_url, shown_values
    from .sinks.check import check_sinks

    line = load_line(config, {}, os.environ)
    for note in [*check_sinks(line.sinks, line.folder), *check_watch_state(line)]:
        typer.echo(f"note: {note}", err=True)
    inspector = open_inspector(line)
    if packages := explain_two_packages():
        typer.echo(f"Warning: {packages}", err=True)
    if as_json:
        facts = {**line.model_dump(mode="json"), "model_id": inspector.manifest.model_id}
        typer.echo(json.dumps(shown_values(facts)))
        return
    uri = shown_url(line.source.uri)
    typer.echo(f"{config} is in order: {line.name}, {uri} → {inspector.manifest.model_id} on {line.device}")


@app.command()
def benchmark(
    model: BundleOption,
    device: DeviceOption = "CPU",
    hint: Annotated[HintChoice | None, typer.Option(help="One of the two only.")] = None,
    source: Annotated[
        str | None, typer.Option("--source", "-s", help="Pictures to use; golden images if none.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=86400, help="How long to measure for each hint.")] = 5.0,
    inference_num_threads: ThreadsOption = None,
    cache_dir: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure latency per stage, throughput and memory on varied pictures, for both of OpenVINO's hints."""
    from .benchmark import benchmark as measure
    from .benchmark import describe

    hints = [hint] if hint is not None else list(HintChoice)
    measure_one = partial(measure, source=source, cache_dir=cache_dir, inference_num_threads=inference_num_threads)
    found = [measure_one(model, device, one.value, seconds=seconds) for one in hints]
    typer.echo(json.dumps(found) if as_json else "\n\n".join(describe(facts) for facts in found))


@app.command()
def predict(
    model: BundleOption,
    source: SourceOption,
    output: Annotated[
        Path, typer.Option("--output", "-o", readable=False, help="Folder for results.jsonl and annotated images.")
    ],
    device: DeviceOption = "CPU",
    roi: RoiOption = None,
    recursive: Annotated[
        bool, typer.Option("--recursive/--no-recursive", help="Of a folder, its subfolders too.")
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier run's results and annotated images in the folder.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Inspect images or a video in one pass: a JSONL line and an annotated image for each."""
    from .images.size_limit import PixelLimit, limit_pixels
    from .inspection.inspector import Inspector
    from .line.loop import run_loop
    from .monitoring.status import LineStatus
    from .sinks import JsonlSink, OverlaySink
    from .sinks.one_pass import one_pass_folder
    from .sources import open_source
    from .system import stop_signals

    with (
        one_pass_folder(output, overwrite=overwrite) as begin,
        closing(open_source(source, recursive=recursive, leave_out=[output])) as frames,
        stop_signals(frames.stop),
    ):
        inspector = Inspector(model, device, roi=_parse_roi(roi))
        status = LineStatus(model_id=inspector.manifest.model_id, source=frames.status)
        with limit_pixels(PixelLimit(inspector.largest_frame)), closing(JsonlSink(begin())) as results:
            try:
                run_loop(frames, inspector, [results, OverlaySink(output)], status=status)
            except SourceError:
                _print_summary(status.snapshot(), as_json)
                raise
    _print_summary(status.snapshot(), as_json)


@app.command()
def info(model: BundleOption) -> None:
    """Print the manifest of a bundle after checking every file in it."""
    from .bundle.bundle import Bundle
    from .bundle.calibration_facts import without_folders

    manifest = Bundle.load(model).manifest
    facts = {"model_id": manifest.model_id, **manifest.model_dump(mode="json")}
    # Bundles of earlier versions name the folder with all that it was in.
    facts["calibration"]["data"] = without_folders(manifest.calibration.data)
    typer.echo(json.dumps(facts, indent=2))


@app.command()
def edit(
    bundle: Annotated[Path, typer.Argument(readable=False, help="Bundle folder to change.")],
    by: Annotated[str, typer.Option("--by", help="Who makes the change; it is kept in the bundle's history.")],
    image_threshold: Annotated[float | None, typer.Option(help="Raw image score above which a part is NG.")] = None,
    pixel_threshold: Annotated[
        float | None, typer.Option(help="Raw map value above which a pixel is anomalous.")
    ] = None,
    warn_threshold: Annotated[float | None, typer.Option(help="Raw image score above which a part is WARN.")] = None,
    no_warn: Annotated[bool, typer.Option("--no-warn", help="Take the WARN threshold away.")] = False,
    labels: Annotated[
        tuple[str, str] | None, typer.Option(help="Two words: for a good part and for an anomalous one.")
    ] = None,
    ignore_mask: Annotated[
        list[str] | None,
        typer.Option(help="Corners 'x,y x,y x,y' in fractions of the frame; several times for several masks."),
    ] = None,
    no_masks: Annotated[bool, typer.Option("--no-masks", help="Take all ignore masks away.")] = False,
) -> None:
    """Change thresholds, labels or ignore masks of a bundle and record who changed what."""
    from .bundle.edit import BundleEdit, edit_bundle
    from .images.geometry import parse_polygon

    if no_warn and warn_threshold is not None:
        raise ConfigError("--warn-threshold and --no-warn exclude each other; give one.")
    if no_masks and ignore_mask:
        raise ConfigError("--ignore-mask and --no-masks exclude each other; give one.")
    masks = () if no_masks else tuple(parse_polygon(text) for text in ignore_mask) if ignore_mask else None
    change = BundleEdit(
        image=image_threshold,
        pixel=pixel_threshold,
        warn=warn_threshold,
        no_warn=no_warn,
        labels=labels,
        ignore_masks=masks,
    )
    for record in edit_bundle(bundle, change, by)[1]:
        typer.echo(f"{record.field}: {record.before} → {record.after}")


@app.command()
def devices() -> None:
    """List the devices that OpenVINO finds on this machine."""
    from .inspection.openvino_backend import available_devices

    for name, full_name in available_devices().items():
        typer.echo(f"{name}\t{full_name}")


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point."""
    run_app(app)


def _parse_roi(text: str | None) -> Roi | None:
    from .images.geometry import parse_roi

    return None if text is None else parse_roi(text)


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
    from .display.window import Window

    return Window(inspector, status, live=live)


def _print_summary(now: Snapshot, as_json: bool) -> None:
    facts = now.summary()
    if as_json:
        typer.echo(json.dumps(facts))
        return
    counts = "  ".join(f"{verdict} {count}" for verdict, count in facts["verdicts"].items())
    typer.echo(f"{facts['frames']} frames in {facts['seconds']:.1f} s: {counts}")
    if facts["latency_ms_p50"] is not None:
        latency = f"latency p50 {facts['latency_ms_p50']} ms, p95 {facts['latency_ms_p95']} ms"
        typer.echo(f"{facts['fps']} fps, {facts['dropped']} dropped, {latency}")
    for name, sink in now.sinks.items():
        if sink.dropped or sink.failed:
            typer.echo(f"sink {name}: {sink.dropped} dropped, {sink.failed} refused ({sink.error})")
