"""``train`` and ``tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from patchcore_edge_runtime.bundle.recipe import ScoreRule

from ..gc_paused import gc_paused
from .options import (
    BitDepthOption,
    DataArgument,
    GoodOption,
    GroupOption,
    IgnoreMaskOption,
    Precision,
    RecursiveOption,
    RoiOption,
    StrictOption,
    TorchDevice,
    WeightsOption,
)
from .values import (
    as_masks,
    as_roi,
    names_in,
    parse_augment,
    parse_depth,
    parse_outliers,
    parse_pca,
    parse_side,
    parse_size,
    warn,
)

__all__ = ["train", "tune"]


def train(
    data: DataArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="RUN folder to write.")],
    backbone: Annotated[
        str, typer.Option(help="Network that describes the photos' patches, by timm's name.")
    ] = "tf_efficientnet_lite0",
    layers: Annotated[
        str, typer.Option(help="Layers by timm's names, comma separated, in any order.")
    ] = "blocks.2,blocks.4",
    coreset_sampling_ratio: Annotated[
        float | None, typer.Option(help="Share of all patches that the bank keeps, in (0, 1]. Default: 0.01.")
    ] = None,
    coreset_size: Annotated[
        int | None, typer.Option(help="Patches that the bank keeps. Default: by the share.")
    ] = None,
    bank_mb: Annotated[float | None, typer.Option(help="Size of the bank in MB. Default: by the share.")] = None,
    num_neighbors: Annotated[
        int, typer.Option(help="With --score reference: neighbours in the bank that re-weight the score; 1 for none.")
    ] = 9,
    image_size: Annotated[
        str | None,
        typer.Option(
            help="Model input in pixels: SIZE or HEIGHTxWIDTH; of transformers whole patches. Default: auto, the "
            "photos' shape, half their sides, about 256x256's pixels at least and 384x384's at most."
        ),
    ] = None,
    weights: WeightsOption = None,
    val_split_ratio: Annotated[
        float,
        typer.Option(help="Share of the good images to keep for `calibrate`, if the data has no validation/good."),
    ] = 0.0,
    seed: Annotated[
        int, typer.Option(help="Number that chance begins with: the bank's first patch, and which photos are held out.")
    ] = 0,
    device: TorchDevice = "auto",
    memory_limit: Annotated[
        str | None,
        typer.Option(
            help="Memory that the fit may take, such as 4GB; what does not fit waits on disk. "
            "Default: half of what is free."
        ),
    ] = None,
    projection_eps: Annotated[
        float | None,
        typer.Option(
            help="Choose the bank's patches by shortened descriptions, as the paper did to save time; 0.9 is its "
            "value. "
            "Not needed here, and the bank gets worse. Default: by whole ones."
        ),
    ] = None,
    score: Annotated[
        ScoreRule,
        typer.Option(
            help="What a photo's score is: the heatmap's maximum, "
            "the mean of its worst places (top-k), the worst patch, or the paper's eq. 7 (reference)."
        ),
    ] = ScoreRule.MAP_MAX,
    pca: Annotated[
        float | None,
        typer.Option(
            help="Keep so many principal components of the patches' descriptions; below 1, as many as have that "
            "share of "
            "their variance. Default: the descriptions as they are."
        ),
    ] = None,
    whitening: Annotated[
        float, typer.Option(help="With --pca: from 0 (none) to 1, how much directions of small variance gain.")
    ] = 0.0,
    patch_stride: Annotated[
        int | None,
        typer.Option(help="Pixels from patch to patch, such as 8 or 16. Default: the first layer's."),
    ] = None,
    patch_size: Annotated[int, typer.Option(help="Cells of a layer averaged into one, per side: 1, 3, 5.")] = 3,
    centering: Annotated[
        float,
        typer.Option(
            help="Take so much of what all places of a photo have in common off each of them, from 0 to 1: good parts "
            "of another lot or lamp, whose photos differ as a whole, look more alike then."
        ),
    ] = 0.0,
    augment: Annotated[
        str | None,
        typer.Option(
            help="Learn further pictures of each image too: brightness, contrast, shift, turn, and where a mirrored "
            "part is as good flip-h, flip-v; comma separated. Default: none."
        ),
    ] = None,
    augment_copies: Annotated[
        int | None, typer.Option(help="With --augment: so many further pictures of each image. Default: 3.")
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
        from ..fit.distributed.launch import distributed
        from ..fit.memory_plan import parse_bytes
        from ..jobs.sight import SightOptions
        from ..jobs.train import TrainOptions, train_run

    options = TrainOptions(
        backbone=backbone,
        layers=names_in(layers),
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
        pca=parse_pca(pca, whitening),
        outliers=parse_outliers(outliers),
        patch_stride=patch_stride,
        patch_size=patch_size,
        centering=centering,
        augment=parse_augment(augment, augment_copies),
        sight=SightOptions(parse_depth(bit_depth), as_roi(roi), as_masks(ignore_mask)),
    )
    with distributed(device):
        fitted = train_run(data, output, options, notify=typer.echo, warn=warn)
        held_out = f", {len(fitted.held_out_sha256)} held out" if fitted.held_out_sha256 else ""
        copies = f", {fitted.augment.made} augmented copies of each" if fitted.augment else ""
        kept = f"{fitted.bank_size:,} of {fitted.patches:,} patches kept"
        typer.echo(f"Fitted {len(fitted.train_sha256)} images{copies}{held_out}: {kept}. Wrote {output}.")


def tune(
    data: DataArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="RUN folder to write.")],
    backbones: Annotated[
        str, typer.Option(help="timm backbones to try, comma separated; the first is the default's.")
    ] = "tf_efficientnet_lite0",
    sizes: Annotated[
        str | None,
        typer.Option(
            help="Sides of the model's picture to try, in pixels, comma separated; the photos' shape is kept. "
            "Default: the "
            "one that `train` would take, and 384, 512 and 256 as far as the photos have the pixels."
        ),
    ] = None,
    budget_ms: Annotated[
        float | None, typer.Option(help="Milliseconds that a frame may take on --inference-device. Default: any.")
    ] = None,
    budget_mb: Annotated[
        float | None, typer.Option(help="Megabytes that the graph's files may have. Default: any.")
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(help="Minutes after which the search ends with what it has. Default: none, until all is tried."),
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="Of the graphs that the budgets are for: fp32, bf16 or int8.")
    ] = Precision.FP32,
    inference_device: Annotated[str, typer.Option(help="OpenVINO device that graphs are timed on.")] = "CPU",
    target_fpr: Annotated[
        float | None,
        typer.Option(help="Share of good parts that may be called NG, as for `calibrate`. Default: as there."),
    ] = None,
    weights: WeightsOption = None,
    seed: Annotated[
        int, typer.Option(help="Number that chance begins with: the banks' first patches, and the folds.")
    ] = 0,
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
        from ..fit.distributed.launch import distributed
        from ..jobs.sight import SightOptions
        from ..tuning.choice import Limits
        from ..tuning.options import TuneOptions, base_options
        from ..tuning.tune import tune_run

    options = TuneOptions(
        train=base_options(
            weights=weights,
            seed=seed,
            device=device,
            strict=strict,
            group_by=group_by,
            good=tuple(good or ()),
            recursive=recursive,
            outliers=parse_outliers(outliers),
            sight=SightOptions(parse_depth(bit_depth), as_roi(roi), as_masks(ignore_mask)),
        ),
        backbones=names_in(backbones),
        sides=tuple(parse_side(text) for text in names_in(sizes or "")),
        limits=Limits(budget_ms, budget_mb),
        time_limit=None if time_limit is None else 60 * time_limit,
        precision=precision,
        device=inference_device,
        target_fpr=target_fpr,
    )
    with distributed(device):
        typer.echo(str(tune_run(data, output, options, notify=typer.echo, warn=warn)))
        typer.echo(f"Wrote {output}; {output / 'tune.html'} shows what was tried.")
