"""``patchcore-edge-runtime``: the commands for the PC beside the line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .command import new_app, run_app
from .errors import ConfigError
from .version import __version__

if TYPE_CHECKING:
    from .loop import RunSummary
    from .result import Roi
    from .sinks import Record, Sink

app = new_app("Inspect camera frames with a PatchCore bundle on OpenVINO.")

BundleOption = Annotated[Path, typer.Option("--model", "-m", help="Bundle folder that `patchcore-edge export` wrote.")]
SourceOption = Annotated[
    str,
    typer.Option("--source", "-s", help="Camera index, stream URL, video, image, folder or 'glob*.png'."),
]
DeviceOption = Annotated[str, typer.Option("--device", "-d", help="OpenVINO device: CPU, GPU, NPU, AUTO.")]
RoiOption = Annotated[str | None, typer.Option("--roi", help="Part of each frame to inspect: X,Y,WIDTH,HEIGHT.")]
CacheOption = Annotated[Path | None, typer.Option(help="Folder for OpenVINO's compiled models; speeds up starts.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


@app.command()
def run(
    model: BundleOption,
    source: SourceOption,
    device: DeviceOption = "CPU",
    roi: RoiOption = None,
    show: Annotated[bool, typer.Option(help="Show the annotated frames in a window; q or Esc ends.")] = False,
    save_ng: Annotated[Path | None, typer.Option(help="Folder for NG, WARN and ERROR frames.")] = None,
    results: Annotated[Path | None, typer.Option(help="JSONL file with a line per frame.")] = None,
    save_video: Annotated[Path | None, typer.Option(help="Annotated video (.mp4) to write.")] = None,
    cache_dir: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Inspect a camera, a stream, a video or images, frame by frame."""
    from .inspector import Inspector
    from .loop import run_loop
    from .sinks import ArchiveSink, JsonlSink, VideoSink
    from .sources import open_source

    frames = open_source(source)
    inspector = Inspector(model, device, cache_dir=cache_dir, roi=_parse_roi(roi))
    # Sinks come last: a start that fails leaves no empty files behind.
    sinks: list[Sink] = []
    if results is not None:
        sinks.append(JsonlSink(results))
    if save_ng is not None:
        sinks.append(ArchiveSink(save_ng))
    if save_video is not None:
        sinks.append(VideoSink(save_video, frames.fps))
    summary = run_loop(frames, inspector, sinks, show=_show if show else None)
    _print_summary(summary, as_json)


@app.command()
def predict(
    model: BundleOption,
    source: SourceOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for results.jsonl and annotated images.")],
    device: DeviceOption = "CPU",
    roi: RoiOption = None,
    as_json: JsonOption = False,
) -> None:
    """Inspect images or a video in one pass: a JSONL line and an annotated image for each."""
    from .inspector import Inspector
    from .loop import run_loop
    from .sinks import JsonlSink, OverlaySink
    from .sources import open_source

    frames = open_source(source)
    inspector = Inspector(model, device, roi=_parse_roi(roi))
    summary = run_loop(frames, inspector, [JsonlSink(output / "results.jsonl"), OverlaySink(output)])
    _print_summary(summary, as_json)


@app.command()
def info(model: BundleOption) -> None:
    """Print the manifest of a bundle after checking every file in it."""
    from .bundle import Bundle

    manifest = Bundle.load(model).manifest
    typer.echo(json.dumps({"model_id": manifest.model_id, **manifest.model_dump(mode="json")}, indent=2))


@app.command()
def devices() -> None:
    """List the devices that OpenVINO finds on this machine."""
    from .inspector import available_devices

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
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(f"--roi {text!r} is not X,Y,WIDTH,HEIGHT in pixels, such as 170,90,300,300.")
    x, y, width, height = (int(part) for part in parts)
    return x, y, width, height


def _show(record: Record) -> bool:
    import cv2

    cv2.imshow("patchcore-edge", record.overlay)
    return cv2.waitKey(1) & 0xFF not in (ord("q"), 27)


def _print_summary(summary: RunSummary, as_json: bool) -> None:
    facts = summary.as_json()
    if as_json:
        typer.echo(json.dumps(facts))
        return
    counts = "  ".join(f"{verdict} {count}" for verdict, count in facts["verdicts"].items())
    typer.echo(f"{facts['frames']} frames in {facts['seconds']:.1f} s: {counts}")
    if facts["latency_ms_p50"] is not None:
        typer.echo(f"{facts['fps']} fps, latency p50 {facts['latency_ms_p50']} ms, p95 {facts['latency_ms_p95']} ms")
