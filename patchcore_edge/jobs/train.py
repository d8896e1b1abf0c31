"""``train``: from a folder of good images to a RUN folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from patchcore_edge_runtime.atomic_folder import require_replaceable
from patchcore_edge_runtime.bundle.recipe import AugmentOptions, PcaOptions, ScoreRule
from patchcore_edge_runtime.errors import ConfigError

from ..data import DataModule, FolderRules, ImageItem, describe_batches, open_data
from ..data.digests import FileDigests
from ..data.file_names import some_names
from ..data.perceptual_hash import PictureHashes
from ..engine import Engine
from ..fit.distributed.ranks import ranks
from ..fit.storage import FeatureStorageOptions
from ..models import Patchcore
from ..models.feature_extractor import size_step
from ..models.images_pool import counted_only
from ..models.k_center_greedy import Pool, coreset_size
from ..models.pre_processor import PreProcessor
from ..models.weights import weights_file
from ..reporting.report import write_outliers
from ..runs.checkpoint import RUN_FILE
from ..runs.facts import RunFacts
from ..runs.fitted import FitFindings, save_fitted, split_off
from .beforehand import require_layers, require_means, require_patches
from .fitting import Fitted, Looks, fit_bank, held_but_shown
from .shared import shared_digests, shared_hashes
from .sight import Sight, SightOptions, found_sight
from .telling import tell_data, telling

__all__ = ["OUTLIERS_FILE", "TrainOptions", "train_run"]

OUTLIERS_FILE = "outliers.html"
_DEFAULT_RATIO = 0.01


@dataclass(frozen=True)
class TrainOptions:
    """What ``train`` can be told.

    Attributes:
        image_size: height and width in pixels; what suits the photos when None.
        sight: what of the photos counts, and what 16 bits mean.
        coreset_sampling_ratio: share of the patches to keep, in (0, 1]; 0.01 when no size is given either.
        weights: a file, ``hub``, or None for what this machine has.
        strict: stop at an image that cannot be read.
        coreset_size: patches to keep, in place of the ratio.
        bank_mb: size of the float32 memory bank in MB of 2²⁰ bytes, in place of the ratio.
        projection_eps: see ``KCenterGreedy``.
        memory_limit: bytes of features to hold in memory; half of what is free when None.
        val_split_ratio: share of the good images to keep out of the fit, for `calibrate`, in [0, 1); none where the
            data has a validation split of its own.
        group_by: pattern that finds an image's batch in its path; see ``with_batches``.
        good: names of the folders of good parts; the usual ones are known.
        recursive: look into subfolders too.
        score: how an image's score comes from its patches; see ``ScoreRule``.
        pca: the feature space; the features as they are when None.
        patch_stride, patch_size, centering: see ``PatchcoreModel``.
        augment: what further pictures of each training image vary, which go into the pool too; none when absent.
        outliers: what becomes of training images that look unlike the others: ``keep`` them, ``drop`` those that stand
            out, or drop so many of the least usual ones.

    Raises:
        ConfigError: more than one of ratio, size and MB is given, or a number is out of its range.
    """

    backbone: str
    layers: tuple[str, ...]
    coreset_sampling_ratio: float | None
    num_neighbors: int
    image_size: tuple[int, int] | None
    weights: str | None
    seed: int
    device: str
    strict: bool = False
    coreset_size: int | None = None
    bank_mb: float | None = None
    projection_eps: float | None = None
    memory_limit: int | None = None
    val_split_ratio: float = 0.0
    group_by: str | None = None
    good: tuple[str, ...] = ()
    recursive: bool = True
    score: str = ScoreRule.REFERENCE
    pca: PcaOptions | None = None
    outliers: Literal["keep", "drop"] | int = "keep"
    augment: AugmentOptions | None = None
    patch_stride: int | None = None
    patch_size: int = 3
    centering: float = 0.0
    sight: SightOptions = field(default_factory=SightOptions)

    def __post_init__(self) -> None:
        given = [v for v in (self.coreset_sampling_ratio, self.coreset_size, self.bank_mb) if v is not None]
        if len(given) > 1:
            raise ConfigError("Give only one of --coreset-sampling-ratio, --coreset-size and --bank-mb.")
        eps, stride = self.projection_eps, self.patch_stride
        for name, value, is_right, what in (
            ("--coreset-sampling-ratio", self.ratio, 0 < self.ratio <= 1, "a number above 0, and at most 1"),
            ("--coreset-size", self.coreset_size, (self.coreset_size or 1) > 0, "a positive number"),
            ("--bank-mb", self.bank_mb, (self.bank_mb is None) or self.bank_mb > 0, "a positive number"),
            ("--num-neighbors", self.num_neighbors, self.num_neighbors >= 1, "at least 1"),
            ("--projection-eps", eps, eps is None or 0 < eps < 1, "a number between 0 and 1"),
            ("--patch-stride", stride, stride is None or stride >= 1, "at least 1"),
            ("--patch-size", self.patch_size, self.patch_size > 0 and self.patch_size % 2 == 1, "1, 3, 5 …"),
        ):
            if not is_right:
                raise ConfigError(f"{name} is {value}; give {what}.")

    @property
    def ratio(self) -> float:
        """The share of the patches to keep where no size is given."""
        return _DEFAULT_RATIO if self.coreset_sampling_ratio is None else self.coreset_sampling_ratio

    def open(self, data: Path | DataModule) -> DataModule:
        """The data as the options say; raises as ``open_data``."""
        return open_data(data, self.val_split_ratio, self.seed, self.group_by, good=self.good, recursive=self.recursive)

    def bank_size(self, patches: int, dimensions: int) -> int:
        """Patches that the bank keeps of a pool of ``patches`` x ``dimensions``."""
        if self.coreset_size is not None:
            return min(self.coreset_size, patches)
        if self.bank_mb is not None:
            return min(max(1, int(self.bank_mb * 2**20) // (4 * dimensions)), patches)
        return coreset_size(patches, self.ratio)


def train_run(
    data: Path | DataModule,
    folder: Path,
    options: TrainOptions,
    notify: Callable[[str], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> RunFacts:
    """Fit on the good images under ``data`` and write the RUN folder.

    Interrupted, it leaves the features it has in a hidden folder beside ``folder``, and goes on from them when it is
    called again with the same images and options.

    Args:
        data: see ``open_data``; of a datamodule no report is made.
        folder: RUN to write; an earlier one is replaced.
        options: what to fit.
        notify: takes sentences for a person: what is there, what the fit will need, which images stand out.
        warn: takes what is doubtful about the data, a sentence each; ``notify`` when None.

    Raises:
        DataError: no data, or an image that cannot be used.
        ConfigError: an option that cannot be met, or a disk that cannot hold the features.
        CheckpointError: ``folder`` is taken by something else.
    """
    # Not after an hour's work.
    require_replaceable(folder, RUN_FILE)
    require_means([options.backbone], options.weights, options.device)
    require_layers(options.backbone, options.layers)
    if options.image_size is not None:
        require_patches(options.backbone, options.layers, options.image_size, options.patch_stride)
    module = options.open(data)

    say, digest = telling(notify), FileDigests()
    shared_digests([item.path for item in [*module.train, *module.validation]], digest)
    if module is not data:
        tell_data(module, say, warn, digest, strict=options.strict)
    say(describe_batches(module.train + split_off(module)))
    sight = found_sight([*module.train, *module.validation], options.sight, say)
    size = sight.input_size(options.image_size, size_step(options.backbone), say)
    model = _new_model(options, sight, size)
    if options.pca is not None and options.pca.dimensions > model.model.embedding_dim:
        raise ConfigError(
            f"--pca is {options.pca.dimensions:g}; a patch is described by {model.model.embedding_dim} numbers, "
            "give fewer."
        )
    storage = FeatureStorageOptions(
        folder=folder.absolute().with_name(f".{folder.absolute().name}.features"),
        fingerprint=_fingerprint(model, options, module, digest),
        memory_limit=options.memory_limit,
        bank_size=options.bank_size,
        notify=notify,
    )
    engine, hashes = Engine(options.device, strict=options.strict), PictureHashes()
    dataset = module.dataset(module.train, model.pre_processor.spec)
    with engine.features(model, dataset, storage, hashes.watch, augment=True, half=True) as store:
        # Without the images that could not be read.
        used = [module.train[place] for place in store.images]
        looks = Looks(digest, shared_hashes(hashes, dataset, store))
        fill = partial(_fill, model, options)
        found = fit_bank(model, store.pool(), used, looks, fill, options.outliers, say)
        fitted = module.with_train(found.kept)
        shown = held_but_shown(engine, model, fitted, store.pool(), looks)
        rules = FolderRules(options.group_by, options.good, options.recursive)
        findings = FitFindings(found.suspects, [*shown, *found.dropped], rules)
        facts = _saved(folder, model, fitted, findings, digest)
        if shown:
            say(
                f"{len(shown)} of the images held out show parts that are among the training images; "
                "`calibrate` will leave them out."
            )
        ranks().by_first(lambda: _report_outliers(folder, model, module.with_train(used), found, say))
        if facts.bank_size <= options.num_neighbors:
            (warn or say)(_small_bank(facts))
        store.discard()
    return facts


def _saved(folder: Path, model: Patchcore, fitted: DataModule, findings: FitFindings, digest: FileDigests) -> RunFacts:
    """The run's facts, once the first process has written it."""
    written = ranks().by_first(lambda: save_fitted(folder, model, fitted, findings, digest).model_dump(mode="json"))
    return RunFacts.model_validate(written)


def _small_bank(facts: RunFacts) -> str:
    return (
        f"The memory bank holds {facts.bank_size} of {facts.patches:,} patches: every new part is compared with these "
        "alone. Give more images or a larger --image-size, or ask for more by --coreset-size."
    )


def _fill(model: Patchcore, options: TrainOptions, pool: Pool) -> None:
    model.coreset_sampling_ratio = options.ratio
    rows = len(counted_only(pool, model.counted_rows))
    model.fit(pool, size=options.bank_size(rows, pool.shape[1]), projection_eps=options.projection_eps)
    model.coreset_sampling_ratio = len(model.coreset_rows) / rows


def _new_model(options: TrainOptions, sight: Sight, size: tuple[int, int]) -> Patchcore:
    return Patchcore(
        options.backbone,
        options.layers,
        pre_trained=True,
        coreset_sampling_ratio=options.ratio,
        num_neighbors=options.num_neighbors,
        pre_processor=PreProcessor(sight.spec(size)),
        post_processor=False,  # thresholds are `calibrate`'s
        weights=weights_file(options.backbone, options.weights),
        seed=options.seed,
        score=options.score,
        pca=options.pca,
        augment=options.augment,
        patch_stride=options.patch_stride,
        patch_size=options.patch_size,
        centering=options.centering,
        ignore_masks=sight.ignore_masks,
    )


def _fingerprint(model: Patchcore, options: TrainOptions, module: DataModule, digest_of: FileDigests) -> str:
    """Of all that decides the features: images and their copies, weights, layers, preprocessing."""
    digest = hashlib.sha256()
    grid = (options.patch_stride, options.patch_size, options.centering)
    copies = options.augment and (options.augment.model_dump(), options.seed)
    facts = (options.backbone, model.model.layers, grid, model.pre_processor.spec.model_dump(), options.strict, copies)
    digest.update(json.dumps(facts).encode())
    for name, tensor in sorted(model.model.feature_extractor.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    for item in module.train:
        digest.update(digest_of(item.path).encode())
    return digest.hexdigest()


def _report_outliers(
    folder: Path, model: Patchcore, module: DataModule, found: Fitted, say: Callable[[str], None]
) -> None:
    dataset, outliers = DataModule.dataset(module.train, model.pre_processor.spec), found.outliers
    page, title = folder / OUTLIERS_FILE, f"{folder.resolve().name}: training images that look least like the others"
    write_outliers(page, title, outliers, dataset.photo)
    if found.dropped:
        say(f"{_named(found.dropped, len(outliers.paths))} and were left out (--outliers); {page} shows them.")
    if found.suspects:
        say(f"{_named(found.suspects, len(outliers.paths))}; look at {page} and take out what is not good.")


def _named(items: Sequence[ImageItem], count: int) -> str:
    return f"{len(items)} of {count} training images look unlike the others ({some_names(items)})"
