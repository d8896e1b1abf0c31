"""``patchcore-edge``: fit, calibrate, evaluate, export, verify."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from patchcore_edge_runtime.bundle.manifest import ParityFacts
from patchcore_edge_runtime.command import new_app, run_app
from patchcore_edge_runtime.errors import ConfigError

from . import __version__

app = new_app("Fit PatchCore on photos of good parts and export it for the PC beside the line.")

DataArgument = Annotated[Path, typer.Argument(help="MVTec AD layout, or a folder of good images.")]
DataOption = Annotated[Path, typer.Option("--data", help="MVTec AD layout, or a folder of good images.")]
RunArgument = Annotated[Path, typer.Argument(help="Folder that `train` wrote.")]
TestData = Annotated[Path, typer.Option("--data", help="MVTec AD layout; test/good and test/<defect> are enough.")]
TorchDevice = Annotated[str, typer.Option("--device", "-d", help="torch device: auto, cpu, cuda, xpu.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
GroupOption = Annotated[
    str | None,
    typer.Option(
        help="Pattern (regular expression) that finds an image's batch in its path, such as '^([^_]+)_'. "
        "Default: each subfolder is a batch."
    ),
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Stop at an image that cannot be read.")]


class Precision(StrEnum):
    """Precision of the exported graph; INT8 is for the backbone only."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class Search(StrEnum):
    """How the exported graph searches the memory bank."""

    EXACT = "exact"
    FAST = "fast"
    AUTO = "auto"


class Format(StrEnum):
    """What is in the bundle besides its manifest; the IR always is."""

    OPENVINO = "openvino"
    ONNX = "onnx"


@app.command()
def train(
    data: DataArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="RUN folder to write.")],
    backbone: Annotated[str, typer.Option(help="timm backbone.")] = "tf_efficientnet_lite0",
    layers: Annotated[str, typer.Option(help="Layers by timm's names, comma separated.")] = "blocks.2,blocks.4",
    coreset_sampling_ratio: Annotated[
        float | None, typer.Option(help="Share of the patches to keep, in (0, 1]; 0.01 unless a size is given.")
    ] = None,
    coreset_size: Annotated[int | None, typer.Option(help="Patches to keep, in place of a ratio.")] = None,
    bank_mb: Annotated[float | None, typer.Option(help="Memory bank's size in MB, in place of a ratio.")] = None,
    num_neighbors: Annotated[int, typer.Option(help="Neighbours that re-weight the score; 1 for none.")] = 9,
    image_size: Annotated[str, typer.Option(help="Model input in pixels: SIZE or HEIGHTxWIDTH.")] = "256",
    weights: Annotated[
        str | None, typer.Option(help="Backbone weights: .safetensors, .pth, or 'hub' to download timm's.")
    ] = None,
    val_split_ratio: Annotated[
        float,
        typer.Option(help="Share of the good images to keep for `calibrate`, if the data has no validation/good."),
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Decides the coreset's first pick and which images are kept.")] = 0,
    device: TorchDevice = "auto",
    memory_limit: Annotated[
        str | None, typer.Option(help="Memory for features, such as 4GB; beyond it they go to disk. Default: half.")
    ] = None,
    projection_eps: Annotated[
        float | None, typer.Option(help="Choose the coreset after a random projection, as the paper did: 0.9.")
    ] = None,
    group_by: GroupOption = None,
    strict: StrictOption = False,
) -> None:
    """Fit a memory bank on images of good parts; interrupted, it goes on when called again."""
    with importing():
        from .fit.memory_plan import parse_bytes
        from .jobs.train import TrainOptions, train_run

    options = TrainOptions(
        backbone=backbone,
        layers=tuple(name.strip() for name in layers.split(",") if name.strip()),
        coreset_sampling_ratio=coreset_sampling_ratio,
        num_neighbors=num_neighbors,
        image_size=_parse_size(image_size),
        weights=weights,
        seed=seed,
        device=device,
        strict=strict,
        coreset_size=coreset_size,
        bank_mb=bank_mb,
        projection_eps=projection_eps,
        memory_limit=None if memory_limit is None else parse_bytes(memory_limit),
        val_split_ratio=val_split_ratio,
        group_by=group_by,
    )
    fitted = train_run(data, output, options, notify=typer.echo)
    held_out = f", {len(fitted.held_out_sha256)} held out" if fitted.held_out_sha256 else ""
    typer.echo(
        f"Fitted {len(fitted.train_sha256)} images{held_out}: {fitted.bank_size:,} of {fitted.patches:,} patches kept. "
        f"Wrote {output}."
    )


@app.command()
def calibrate(
    run: RunArgument,
    data: DataOption,
    target_fpr: Annotated[
        float | None,
        typer.Option(
            help="Share of good parts that may be called NG. Default: what the images support, up to 0.05, weighed "
            "against what it catches; with labelled defects, the highest F1."
        ),
    ] = None,
    device: TorchDevice = "auto",
    group_by: GroupOption = None,
    strict: StrictOption = False,
) -> None:
    """Set the thresholds from images that `train` has not seen, else from the training images.

    In this order: validation/, by the highest F1 if it has labelled defects; the images that `train --val-split-ratio`
    held out; a folder of other good images; the training images, each scored by a bank that was fitted without it.
    """
    with importing():
        from .jobs.calibrate import calibrate_run

    found = calibrate_run(run, data, target_fpr, device, strict=strict, group_by=group_by, notify=typer.echo)
    typer.echo(str(found))


@app.command(name="eval")
def evaluate(
    run: RunArgument,
    data: TestData,
    report: Annotated[Path | None, typer.Option(help="Report to write; RUN/report.html by default.")] = None,
    device: TorchDevice = "auto",
    group_by: GroupOption = None,
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure a run on the test images and write a report, with the metrics as JSON beside it."""
    with importing():
        from .jobs.evaluate import evaluate_run

    path = report or run / "report.html"
    found = evaluate_run(run, data, device, path, strict=strict, group_by=group_by, warn=_warn)
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    for name, value in vars(found).items():
        if value is not None and name != "groups":
            typer.echo(f"{name:18} {value:.4f}" if isinstance(value, float) else f"{name:18} {value}")
    for group in found.groups or ():
        typer.echo(
            f"batch {group.group or '?'}: {group.rejected} of {group.good} good rejected, "
            f"{group.found} of {group.defective} defective found"
        )
    typer.echo(f"Wrote {path}.")


@app.command()
def export(
    run: RunArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Bundle folder to write.")],
    precision: Annotated[
        Precision, typer.Option(help="Precision of the weights; int8 is the backbone's.")
    ] = Precision.FP32,
    search: Annotated[
        Search, typer.Option(help="Distances: all exact, coarse to fine, or whichever the gate certifies.")
    ] = Search.EXACT,
    batch: Annotated[int, typer.Option(min=1, help="Images per inference; fixed in the graph.")] = 1,
    format_: Annotated[
        Format, typer.Option("--format", help="openvino, or onnx to keep the ONNX file beside the IR.")
    ] = Format.OPENVINO,
    compress_weights: Annotated[
        bool, typer.Option("--compress-weights", help="Store weights in 8 bits: a smaller download, computed in float.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", help="Labelled images: the gate compares image AUROC before and after.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write the bundle even when the gate refuses it.")] = False,
) -> None:
    """Export a calibrated run to an OpenVINO bundle, behind a gate that compares it with torch."""
    with importing():
        from patchcore_edge_export.build import GraphOptions
        from patchcore_edge_export.bundle import export_bundle

    options = GraphOptions(precision.value, search.value, batch, format_ is Format.ONNX, force, compress_weights)
    manifest = export_bundle(run, output, options, data)
    typer.echo(f"Search: {manifest.search} ({manifest.search_facts.reason}).")
    _print_parity(manifest.parity)
    for warning in manifest.calibration.warnings:
        _warn(warning)
    typer.echo(f"Wrote {output}: {manifest.model_id}.")


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder that `export` wrote.")],
    run: Annotated[Path, typer.Option("--run", help="The run it was exported from.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Images to compare on; the run's calibration images by default.")
    ] = None,
    device: Annotated[str, typer.Option("--device", "-d", help="OpenVINO device: CPU, GPU, NPU.")] = "CPU",
    as_json: JsonOption = False,
) -> None:
    """Compare a bundle with the run it came from, on this machine."""
    with importing():
        from patchcore_edge_export.bundle import verify_bundle
        from patchcore_edge_export.gate.parity import require_parity

    facts = verify_bundle(bundle, run, data, device)
    if as_json:
        typer.echo(json.dumps(facts.model_dump()))
    else:
        _print_parity(facts)
    require_parity(facts)


@app.command(name="model-api")
def model_api(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder that `export` wrote, of batch 1.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; not the bundle's.")],
) -> None:
    """Copy a bundle's graph, its thresholds in it, for programs that use Intel's Model API."""
    with importing():
        from patchcore_edge_export.model_api import write_model_api

    typer.echo(
        f"Wrote {write_model_api(bundle, output)}. Write it again after `edit`: the thresholds are in the graph."
    )


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point."""
    run_app(app)


@contextmanager
def importing() -> Iterator[None]:
    """For imports of torch and timm: a million objects, none of them garbage, that need no looking through.

    Neither now, which takes a quarter of the import's time, nor at the process's end, which takes half a second.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _warn(sentence: str) -> None:
    typer.echo(f"Warning: {sentence}", err=True)


def _parse_size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) not in (1, 2) or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"--image-size {text!r} is not SIZE or HEIGHTxWIDTH in pixels, such as 224 or 256x384.")
    return int(parts[0]), int(parts[-1])


def _print_parity(facts: ParityFacts) -> None:
    made = f" ({facts.synthetic} with a synthetic defect)" if facts.synthetic else ""
    lines = [
        f"Parity on {facts.images} images{made}, torch float32 against {facts.device}: "
        f"score deviation {facts.max_score_deviation:.2e} (limit {facts.score_limit:.0e}), "
        f"map deviation {facts.max_map_deviation:.2e} (limit {facts.map_limit:.0e}), "
        f"{facts.verdict_flips} verdict flips (limit {facts.flip_limit})."
    ]
    if facts.rank_correlation is not None:
        lines.append(f"Rank correlation of the scores {facts.rank_correlation:.6f}.")
    if facts.auroc_torch is not None and facts.auroc_graph is not None:
        lines.append(f"Image AUROC {facts.auroc_torch:.4f} in torch, {facts.auroc_graph:.4f} on {facts.device}.")
    if facts.onnx is not None:
        lines.append(
            f"ONNX Runtime: score deviation {facts.onnx.max_score_deviation:.2e}, "
            f"map deviation {facts.onnx.max_map_deviation:.2e}."
        )
    lines += [f"FAILED: {failure}." for failure in facts.failures]
    typer.echo("\n".join(lines))
