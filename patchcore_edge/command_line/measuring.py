"""``data``, ``calibrate`` and ``eval``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..gc_paused import gc_paused
from .options import (
    DataArgument,
    DataOption,
    GoodOption,
    GroupOption,
    IgnoreMaskOption,
    JsonOption,
    RecursiveOption,
    RoiOption,
    RunArgument,
    StrictOption,
    TestData,
    TorchDevice,
)
from .values import as_masks, as_roi, note, warn

if TYPE_CHECKING:
    from ..metrics.evaluator import Evaluation

__all__ = ["calibrate", "data", "evaluate"]


def data(
    data: DataArgument,
    pixels: Annotated[
        bool | None,
        typer.Option(
            "--pixels/--no-pixels",
            help="Decode pictures of one size to find equal pixels in different files. Default: where they are small.",
        ),
    ] = None,
    group_by: GroupOption = None,
    good: GoodOption = None,
    recursive: RecursiveOption = True,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 where anything is doubtful.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what is there before any work: images by role, what is left out, sizes, depths, copies, masks, doubts.

    The other commands say the same lines first.
    """
    from ..data import FolderRules, open_whole
    from ..data.report import report_data

    module = open_whole(data, FolderRules(group_by, tuple(good or ()), recursive))
    found = report_data(module, pixels=pixels)
    typer.echo(json.dumps(found.to_dict(), indent=2) if as_json else str(found))
    if strict:
        found.require_clear()


def calibrate(
    run: RunArgument,
    data: DataOption = None,
    target_fpr: Annotated[
        float | None,
        typer.Option(
            help="Share of good parts that may be called NG: 0.01 is one in a hundred. A smaller share needs more "
            "photos. "
            "Default: about 0.05, or less where that finds as many defects; with labelled defects, what separates best."
        ),
    ] = None,
    device: TorchDevice = "auto",
    roi: RoiOption = None,
    ignore_mask: IgnoreMaskOption = None,
    group_by: GroupOption = None,
    good: GoodOption = None,
    strict: StrictOption = False,
) -> None:
    """Set the thresholds from images that `train` has not seen, else from the training images.

    In this order: validation/, by the highest F1 if it has labelled defects; the images that `train --val-split-ratio`
    held out; a folder of other good images; the training images, each scored by a bank that was fitted without it.
    """
    with gc_paused():
        from ..fit.distributed.launch import distributed
        from ..jobs.calibrate import calibrate_run
        from ..jobs.sight import SightOptions

    sight = SightOptions(None, as_roi(roi), as_masks(ignore_mask))
    with distributed(device):
        found = calibrate_run(
            *(run, data, target_fpr, device),
            strict=strict,
            group_by=group_by,
            good=good or (),
            sight=sight,
            notify=typer.echo,
            warn=warn,
        )
        typer.echo(str(found))


def evaluate(
    run: RunArgument,
    data: TestData = None,
    report: Annotated[Path | None, typer.Option(help="Report to write. Default: RUN/report.html.")] = None,
    device: TorchDevice = "auto",
    roi: RoiOption = None,
    ignore_mask: IgnoreMaskOption = None,
    group_by: GroupOption = None,
    good: GoodOption = None,
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure a run on the test images and write a report, with the metrics as JSON beside it."""
    with gc_paused():
        from ..fit.distributed.launch import distributed
        from ..jobs.evaluate import evaluate_run
        from ..jobs.sight import SightOptions

    path = report or run / "report.html"
    sight = SightOptions(None, as_roi(roi), as_masks(ignore_mask))
    with distributed(device):
        found = evaluate_run(
            *(run, data, device, path),
            strict=strict,
            group_by=group_by,
            good=good or (),
            sight=sight,
            warn=warn,
            notify=note,
        )
        _print_figures(found, path, as_json=as_json)


def _print_figures(found: Evaluation, report: Path, *, as_json: bool) -> None:
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
    typer.echo(f"Wrote {report}.")
