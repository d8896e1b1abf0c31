"""``patchcore-edge export``, ``verify`` and ``model-api``, which the host's command line mounts by an entry point.

What takes long to import is imported by the commands, so that ``patchcore-edge --help`` waits for none of it.
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from patchcore_edge.command_line.values import as_data
from patchcore_edge.gc_paused import gc_paused
from patchcore_edge.plugins import needs_export_extra
from patchcore_edge_runtime.command_line.options import BundleAlias, BundleArgument, as_bundle

if TYPE_CHECKING:
    from patchcore_edge_runtime.bundle.manifest import LowerPrecision, ParityReport

__all__ = ["Format", "Precision", "Search", "register"]


RunArgument = Annotated[Path, typer.Argument(help="Folder that `train` wrote.")]
GoodOption = Annotated[
    list[str] | None,
    typer.Option(
        "--good",
        metavar="NAME",
        help="Name of the folder of good parts in --data; see `eval`. Default: one called good, OK, normal …",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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


class Inference(StrEnum):
    """What an exported graph is verified to be computed in."""

    AUTO = "auto"
    F32 = "f32"


class Computed(StrEnum):
    """What a graph is computed in while it is compared."""

    F32 = "f32"
    BF16 = "bf16"
    F16 = "f16"


def register(app: typer.Typer) -> None:
    """Add the commands to the host's application."""
    app.command()(export)
    app.command()(verify)
    app.command(name="model-api")(model_api)


def export(
    run: RunArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Bundle folder to write.")],
    precision: Annotated[
        Precision,
        typer.Option(
            help="Numbers of 32, 16 or 8 bits: fp32 scores as the fit does, fp16 is half as large, int8 is fastest."
        ),
    ] = Precision.FP32,
    search: Annotated[
        Search,
        typer.Option(
            help="How a frame is compared with the bank. exact: every patch with all of it. fast: rough distances "
            "first, exact ones where it matters; pays with large banks. auto: fast where it pays and "
            "proves right, else exact."
        ),
    ] = Search.EXACT,
    batch: Annotated[int, typer.Option(min=1, help="Images per inference; fixed in the bundle. 1 for a camera.")] = 1,
    format_: Annotated[
        Format, typer.Option("--format", help="openvino, or onnx to keep the ONNX file beside the IR.")
    ] = Format.OPENVINO,
    compress_weights: Annotated[
        bool, typer.Option("--compress-weights", help="Store weights in 8 bits: a smaller download, computed in float.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Labelled images: the gate compares image AUROC before and after. Default: good photos of the run, "
            "and "
            "synthetic defects made on them.",
            parser=as_data,
            metavar="DATA",
        ),
    ] = None,
    good: GoodOption = None,
    inference_precision: Annotated[
        Inference,
        typer.Option(
            help="What the gate verifies the bundle for: float32 and what else this CPU is made for, or that alone."
        ),
    ] = Inference.AUTO,
    force: Annotated[bool, typer.Option("--force", help="Write the bundle even when the gate refuses it.")] = False,
) -> None:
    """Export a calibrated run to an OpenVINO bundle, behind a gate that compares it with torch."""
    with gc_paused(), needs_export_extra():
        from .build import GraphOptions
        from .bundle import export_bundle

    options = GraphOptions(
        precision.value,
        search.value,
        batch,
        format_ is Format.ONNX,
        force,
        compress_weights,
        lower=inference_precision is Inference.AUTO,
    )
    manifest = export_bundle(run, output, options, data, good or ())
    typer.echo(f"Search: {manifest.search} ({manifest.search_facts.reason}).")
    _print_parity(manifest.parity)
    for lower in manifest.lower_precisions:
        _print_lower(lower)
    for warning in manifest.calibration.warnings:
        _warn(warning)
    typer.echo(f"Wrote {output}: {manifest.model_id}.")


def verify(
    *,
    bundle: BundleArgument = None,
    model: BundleAlias = None,
    run: Annotated[Path, typer.Option("--run", help="The run it was exported from.")],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Images to compare on. Default: the run's calibration images.",
            parser=as_data,
            metavar="DATA",
        ),
    ] = None,
    good: GoodOption = None,
    device: Annotated[str, typer.Option("--device", "-d", help="OpenVINO device: CPU, GPU, NPU.")] = "CPU",
    inference_precision: Annotated[
        Computed, typer.Option(help="What the device computes the backbone in; distances are in float32 always.")
    ] = Computed.F32,
    as_json: JsonOption = False,
) -> None:
    """Compare a bundle with the run it came from, on this machine."""
    with gc_paused(), needs_export_extra():
        from .bundle import verify_bundle
        from .gate.parity import require_parity

    facts = verify_bundle(as_bundle(bundle, model), run, data, device, good or (), inference_precision.value)
    if as_json:
        typer.echo(json.dumps(facts.model_dump()))
    else:
        _print_parity(facts)
    require_parity(facts)


def model_api(
    *,
    bundle: BundleArgument = None,
    model: BundleAlias = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; not the bundle's.")],
) -> None:
    """Copy the graph of a bundle of batch 1, its thresholds in it, for programs that use Intel's Model API."""
    with gc_paused(), needs_export_extra():
        from .model_api import write_model_api

    written = write_model_api(as_bundle(bundle, model), output)
    typer.echo(f"Wrote {written}. Write it again after `edit`: the thresholds are in the graph.")


def _warn(sentence: str) -> None:
    typer.echo(f"Warning: {sentence}", err=True)


def _print_lower(lower: LowerPrecision) -> None:
    from .gate.limits import off

    facts = lower.parity
    outcome = f"a line whose device is made for {lower.name} computes in it"
    if not facts.passed:
        outcome = f"not used, because {'; '.join(facts.failures)}"
    typer.echo(
        f"In {lower.name}: scores are {off(facts.max_score_deviation, facts.score_limit)}, "
        f"heatmaps {off(facts.max_map_deviation, facts.map_limit)}, "
        f"{facts.verdict_flips} verdict flips (limit {facts.flip_limit}); {outcome}."
    )


def _print_parity(facts: ParityReport) -> None:
    from .gate.limits import LIMITS, off

    made = f" ({facts.synthetic} with a synthetic defect)" if facts.synthetic else ""
    lines = [
        f"Compared on {facts.images} images{made}, torch float32 with {facts.device}: "
        f"scores are {off(facts.max_score_deviation, facts.score_limit)}, "
        f"heatmaps {off(facts.max_map_deviation, facts.map_limit)}, "
        f"{facts.verdict_flips} verdicts differ (limit {facts.flip_limit})."
    ]
    if facts.rank_correlation is not None:
        lines.append(f"Rank correlation of the scores {facts.rank_correlation:.3f}.")
    if facts.auroc_torch is not None and facts.auroc_graph is not None:
        lines.append(f"Image AUROC {facts.auroc_torch:.3f} in torch, {facts.auroc_graph:.3f} on {facts.device}.")
    if facts.onnx is not None:
        floats = LIMITS["fp32"]
        lines.append(
            f"ONNX Runtime: scores are {off(facts.onnx.max_score_deviation, floats.score)}, "
            f"heatmaps {off(facts.onnx.max_map_deviation, max(facts.map_limit, floats.map))}."
        )
    lines += [f"FAILED: {failure}." for failure in facts.failures]
    typer.echo("\n".join(lines))
