"""``data``, ``calibrate`` and ``eval``."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
    for words, value in _rows(found):
        if value is not None:
            typer.echo(f"{words:42} {value}")
    for group in found.groups or ():
        typer.echo(
            f"batch {group.group or '?'}: {group.rejected} of {group.good} good rejected, "
            f"{group.found} of {group.defective} defective found"
        )
    typer.echo(f"Wrote {report}.")


def _rows(found: Evaluation) -> Iterator[tuple[str, str | None]]:
    """What is measured, in words, and its value; None of what the data cannot tell."""
    yield "test images", f"{found.images}: {found.good} good, {found.defective} defective"
    yield "threshold in use", _number(found.threshold, ".4g")
    yield "  good parts rejected", _number(found.false_reject_rate, ".1%")
    yield "  defects found (recall)", _number(found.recall, ".1%")
    yield "  F1", _number(found.f1)
    yield "image AUROC", _number(found.image_auroc)
    yield "image AUPR", _number(found.image_aupr)
    yield "pixel AUROC", _number(found.pixel_auroc)
    yield "AUPRO", _number(found.aupro)
    if found.pixel_auroc is not None:
        yield "  these two are over", f"{found.pixel_images} images, {found.pixel_masks} of them with a mask"
    # Of any threshold: the test images say how well the scores tell good from bad, and choose none.
    yield "found where 1 % of these good are rejected", _number(found.recall_at_1, ".1%")
    yield "found where 5 % of these good are rejected", _number(found.recall_at_5, ".1%")
    yield "best F1 of any threshold", _number(found.image_f1_max)


def _number(value: float | None, how: str = ".4f") -> str | None:
    return None if value is None else f"{value:{how}}"
