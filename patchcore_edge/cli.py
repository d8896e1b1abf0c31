"""``patchcore-edge``: fit, calibrate, evaluate; other packages add their commands."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError

from patchcore_edge_runtime.bundle.recipe import Augmentation, AugmentOptions, PcaOptions, ScoreRule
from patchcore_edge_runtime.command import new_app, run_app
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.validation import first_fault

from . import __version__
from .gc_paused import gc_paused
from .plugins import mount_commands
from .sight_options import (
    BitDepthOption,
    IgnoreMaskOption,
    RoiOption,
    as_masks,
    as_roi,
    parse_depth,
    parse_size,
)

app = new_app("Fit PatchCore on photos of good parts and export it for the line PC.")

_LAYOUTS = "MVTec AD layout or VisA's, a folder of good images, or a list of files (CSV); see docs/data.md."
DataArgument = Annotated[Path, typer.Argument(help=_LAYOUTS)]
DataOption = Annotated[Path, typer.Option("--data", help=_LAYOUTS)]
RunArgument = Annotated[Path, typer.Argument(help="Folder that `train` wrote.")]
TestData = Annotated[
    Path,
    typer.Option(
        "--data", help="MVTec AD layout, of which test/good and test/<defect> are enough; VisA's; or a list (CSV)."
    ),
]
TorchDevice = Annotated[str, typer.Option("--device", "-d", help="torch device: auto, cpu, cuda, xpu.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Precision(StrEnum):
    """Of a graph that is timed."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


GroupOption = Annotated[
    str | None,
    typer.Option(
        help="Pattern (regular expression) that finds an image's batch in its path, such as '^([^_]+)_'. "
        "Default: each subfolder is a batch."
    ),
]
GoodOption = Annotated[
    list[str] | None,
    typer.Option(
        "--good",
        metavar="NAME",
        help="Name of the folder of good parts, where it is not called good, OK, normal …; several times for several.",
    ),
]
RecursiveOption = Annotated[bool, typer.Option("--recursive/--no-recursive", help="Take the images in subfolders too.")]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", help="Stop where anything about the data is doubtful, or an image cannot be read."),
]


@app.command()
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
    from .data import FolderRules, open_whole
    from .data.report import report_data

    module = open_whole(data, FolderRules(group_by, tuple(good or ()), recursive))
    found = report_data(module, pixels=pixels)
    typer.echo(json.dumps(found.to_dict(), indent=2) if as_json else str(found))
    if strict:
        found.require_clear()


@app.command()
def train(
    data: DataArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="RUN folder to write.")],
    backbone: Annotated[str, typer.Option(help="timm backbone.")] = "tf_efficientnet_lite0",
    layers: Annotated[
        str, typer.Option(help="Layers by timm's names, comma separated, in any order.")
    ] = "blocks.2,blocks.4",
    coreset_sampling_ratio: Annotated[
        float | None, typer.Option(help="Share of the patches to keep, in (0, 1]; 0.01 unless a size is given.")
    ] = None,
    coreset_size: Annotated[int | None, typer.Option(help="Patches to keep, in place of a ratio.")] = None,
    bank_mb: Annotated[float | None, typer.Option(help="Memory bank's size in MB, in place of a ratio.")] = None,
    num_neighbors: Annotated[int, typer.Option(help="Neighbours that re-weight the score; 1 for none.")] = 9,
    image_size: Annotated[
        str | None,
        typer.Option(
            help="Model input in pixels: SIZE or HEIGHTxWIDTH; of transformers whole patches. Default, auto: the "
            "photos' shape, half their sides, about 256x256's pixels at least and 384x384's at most."
        ),
    ] = None,
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
    score: Annotated[
        ScoreRule, typer.Option(help="How an image's score comes from its patches; reference is eq. 7 of the paper.")
    ] = ScoreRule.MAP_MAX,
    pca: Annotated[
        float | None, typer.Option(help="Keep so many principal components of the features, or this share below 1.")
    ] = None,
    whitening: Annotated[
        float, typer.Option(help="With --pca: from 0 (none) to 1, how much directions of small variance gain.")
    ] = 0.0,
    patch_stride: Annotated[
        int | None,
        typer.Option(help="Pixels from patch to patch, such as 8 or 16. Default: the first layer's."),
    ] = None,
    patch_size: Annotated[int, typer.Option(help="Cells of a layer averaged into one, per side: 1, 3, 5.")] = 3,
    augment: Annotated[
        str | None,
        typer.Option(
            help="Learn further pictures of each image too: brightness, contrast, shift, turn, and where a mirrored "
            "part is as good flip-h, flip-v; comma separated."
        ),
    ] = None,
    augment_copies: Annotated[
        int | None, typer.Option(help="With --augment: so many further pictures of each image, 3 unless given.")
    ] = None,
    outliers: Annotated[
        str, typer.Option(help="Images unlike the others: keep, drop, or how many of the least usual to drop.")
    ] = "keep",
    bit_depth: BitDepthOption = None,
    roi: RoiOption = None,
    ignore_mask: IgnoreMaskOption = None,
    group_by: GroupOption = None,
    good: GoodOption = None,
    recursive: RecursiveOption = True,
    strict: StrictOption = False,
) -> None:
    """Fit a memory bank on images of good parts; interrupted, it goes on when called again."""
    with gc_paused():
        from .fit.memory_plan import parse_bytes
        from .jobs.sight import SightOptions
        from .jobs.train import TrainOptions, train_run

    options = TrainOptions(
        backbone=backbone,
        layers=_names(layers),
        coreset_sampling_ratio=coreset_sampling_ratio,
        num_neighbors=num_neighbors,
        image_size=parse_size(image_size),
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
        good=tuple(good or ()),
        recursive=recursive,
        score=score,
        pca=_parse_pca(pca, whitening),
        outliers=_parse_outliers(outliers),
        patch_stride=patch_stride,
        patch_size=patch_size,
        augment=_parse_augment(augment, augment_copies),
        sight=SightOptions(parse_depth(bit_depth), as_roi(roi), as_masks(ignore_mask)),
    )
    fitted = train_run(data, output, options, notify=typer.echo, warn=_warn)
    held_out = f", {len(fitted.held_out_sha256)} held out" if fitted.held_out_sha256 else ""
    copies = f", {fitted.augment.made} augmented copies of each" if fitted.augment else ""
    kept = f"{fitted.bank_size:,} of {fitted.patches:,} patches kept"
    typer.echo(f"Fitted {len(fitted.train_sha256)} images{copies}{held_out}: {kept}. Wrote {output}.")


@app.command()
def tune(
    data: DataArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="RUN folder to write.")],
    backbones: Annotated[
        str, typer.Option(help="timm backbones to try, comma separated; the first is the default's.")
    ] = "tf_efficientnet_lite0",
    sizes: Annotated[
        str | None,
        typer.Option(help="Sides in pixels to try, comma separated, the first as default; the photos' shape is kept."),
    ] = None,
    budget_ms: Annotated[
        float | None, typer.Option(help="Milliseconds a frame may take on --inference-device.")
    ] = None,
    budget_mb: Annotated[float | None, typer.Option(help="Megabytes that the graph's files may have.")] = None,
    time_limit: Annotated[
        float | None, typer.Option(help="Minutes after which the search ends with what it has.")
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="Of the graphs that the budgets are for: fp32, bf16 or int8.")
    ] = Precision.FP32,
    inference_device: Annotated[str, typer.Option(help="OpenVINO device that graphs are timed on.")] = "CPU",
    target_fpr: Annotated[float | None, typer.Option(help="As for `calibrate`.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Backbone weights: .safetensors, .pth, or 'hub' to download timm's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the coresets' first picks and the folds.")] = 0,
    device: TorchDevice = "auto",
    outliers: Annotated[
        str, typer.Option(help="Images unlike the others, in the last fit: keep, drop, or how many to drop.")
    ] = "keep",
    bit_depth: BitDepthOption = None,
    roi: RoiOption = None,
    ignore_mask: IgnoreMaskOption = None,
    group_by: GroupOption = None,
    good: GoodOption = None,
    recursive: RecursiveOption = True,
    strict: StrictOption = False,
) -> None:
    """Find the recipe for the part, fit by it and calibrate; interrupted, it goes on when called again.

    Sizes, layers, feature spaces, score rules and bank sizes are judged on good images that no bank has seen, against
    synthetic defects made on them; labelled defects in validation/ count too. RUN/tune.html shows what was found.
    """
    with gc_paused():
        from .jobs.sight import SightOptions
        from .tuning.choice import Limits
        from .tuning.options import TuneOptions, base_options
        from .tuning.tune import tune_run

    options = TuneOptions(
        train=base_options(
            weights=weights,
            seed=seed,
            device=device,
            strict=strict,
            group_by=group_by,
            good=tuple(good or ()),
            recursive=recursive,
            outliers=_parse_outliers(outliers),
            sight=SightOptions(parse_depth(bit_depth), as_roi(roi), as_masks(ignore_mask)),
        ),
        backbones=_names(backbones),
        sides=tuple(_side(text) for text in _names(sizes or "")),
        limits=Limits(budget_ms, budget_mb),
        time_limit=None if time_limit is None else 60 * time_limit,
        precision=precision,
        device=inference_device,
        target_fpr=target_fpr,
    )
    typer.echo(str(tune_run(data, output, options, notify=typer.echo, warn=_warn)))
    typer.echo(f"Wrote {output}; {output / 'tune.html'} shows what was tried.")


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
        from .jobs.calibrate import calibrate_run
        from .jobs.sight import SightOptions

    sight = SightOptions(None, as_roi(roi), as_masks(ignore_mask))
    found = calibrate_run(
        *(run, data, target_fpr, device),
        strict=strict,
        group_by=group_by,
        good=good or (),
        sight=sight,
        notify=typer.echo,
        warn=_warn,
    )
    typer.echo(str(found))


@app.command(name="eval")
def evaluate(
    run: RunArgument,
    data: TestData,
    report: Annotated[Path | None, typer.Option(help="Report to write; RUN/report.html by default.")] = None,
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
        from .jobs.evaluate import evaluate_run
        from .jobs.sight import SightOptions

    path = report or run / "report.html"
    sight = SightOptions(None, as_roi(roi), as_masks(ignore_mask))
    found = evaluate_run(
        *(run, data, device, path),
        strict=strict,
        group_by=group_by,
        good=good or (),
        sight=sight,
        warn=_warn,
        notify=_note,
    )
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


mount_commands(app)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point."""
    run_app(app)


def _note(sentence: str) -> None:
    typer.echo(sentence, err=True)


def _warn(sentence: str) -> None:
    typer.echo(f"Warning: {sentence}", err=True)


def _names(text: str) -> tuple[str, ...]:
    """The names of a comma-separated set; one that is named twice counts once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _side(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise ConfigError(f"--sizes has {text!r}; give sides in pixels, such as 256,384.")


def _parse_pca(dimensions: float | None, whitening: float) -> PcaOptions | None:
    if dimensions is None:
        if whitening:
            raise ConfigError("--whitening needs --pca; add --pca 0.99, say.")
        return None
    try:
        return PcaOptions(dimensions=dimensions, whitening=whitening)
    except ValidationError as error:
        raise ConfigError(f"--pca and --whitening: {first_fault(error)}.") from None


def _parse_augment(kinds: str | None, copies: int | None) -> AugmentOptions | None:
    if kinds is None:
        if copies is not None:
            raise ConfigError("--augment-copies needs --augment; add --augment brightness,shift, say.")
        return None
    names = _names(kinds)
    known = [str(kind) for kind in Augmentation]
    if not names or not set(names) <= set(known):
        raise ConfigError(f"--augment is {kinds!r}; give some of {', '.join(known)}, comma separated.")
    try:
        return AugmentOptions.model_validate({"kinds": names} | ({} if copies is None else {"copies": copies}))
    except ValidationError as error:
        raise ConfigError(f"--augment-copies: {first_fault(error)}.") from None


def _parse_outliers(text: str) -> Literal["keep", "drop"] | int:
    if text == "keep":
        return "keep"
    if text == "drop":
        return "drop"
    if text.isdecimal():
        return int(text)
    raise ConfigError(f"--outliers is {text!r}; give keep, drop or a number of images.")
