"""``train``: from a folder of good images to a RUN folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from patchcore_edge_runtime.atomic_folder import require_replaceable
from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.images.preprocess import PreprocessSpec

from .. import __version__
from ..data import DataModule, ImageItem, describe_batches, open_data
from ..engine import Engine
from ..fit.copies import find_parts, shown_already
from ..fit.outliers import Outliers, find_outliers, patch_grid
from ..fit.storage import Storage
from ..models import Patchcore
from ..models.k_center_greedy import Pool, coreset_size
from ..models.pre_processor import PreProcessor
from ..models.weights import HUB, local_weights
from ..reporting.report import write_outliers
from ..runs.checkpoint import RUN_FILE, RunFacts, save_run
from .cross_validation import units_of

__all__ = ["OUTLIERS_FILE", "TrainOptions", "evenly", "file_sha256", "save_fitted", "train_run"]

OUTLIERS_FILE = "outliers.html"
_KEPT_IMAGES = 128
_DEFAULT_RATIO = 0.01


@dataclass(frozen=True)
class TrainOptions:
    """What ``train`` can be told.

    Attributes:
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

    Raises:
        ConfigError: more than one of ratio, size and MB is given, or one of them is not positive.
    """

    backbone: str
    layers: tuple[str, ...]
    coreset_sampling_ratio: float | None
    num_neighbors: int
    image_size: tuple[int, int]
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

    def __post_init__(self) -> None:
        given = [v for v in (self.coreset_sampling_ratio, self.coreset_size, self.bank_mb) if v is not None]
        if len(given) > 1:
            raise ConfigError("Give only one of --coreset-sampling-ratio, --coreset-size and --bank-mb.")
        for name, value in (("--coreset-size", self.coreset_size), ("--bank-mb", self.bank_mb)):
            if value is not None and value <= 0:
                raise ConfigError(f"{name} is {value}; give a positive number.")

    @property
    def ratio(self) -> float:
        """The share of the patches to keep where no size is given."""
        return _DEFAULT_RATIO if self.coreset_sampling_ratio is None else self.coreset_sampling_ratio

    def bank_size(self, patches: int, dimensions: int) -> int:
        """Patches that the bank keeps of a pool of ``patches`` x ``dimensions``."""
        if self.coreset_size is not None:
            return min(self.coreset_size, patches)
        if self.bank_mb is not None:
            return min(max(1, int(self.bank_mb * 2**20) // (4 * dimensions)), patches)
        return coreset_size(patches, self.ratio)


def train_run(
    data: Path | DataModule, folder: Path, options: TrainOptions, notify: Callable[[str], None] | None = None
) -> RunFacts:
    """Fit on the good images under ``data`` and write the RUN folder.

    Interrupted, it leaves the features it has in a hidden folder beside ``folder``, and goes on from them when it is
    called again with the same images and options.

    Args:
        data: MVTec layout, or a folder of good images.
        folder: RUN to write; an earlier one is replaced.
        options: what to fit.
        notify: takes sentences for a person: what the fit will need, which images stand out.

    Raises:
        DataError: no data, or an image that cannot be used.
        ConfigError: an option that cannot be met, or a disk that cannot hold the features.
        CheckpointError: ``folder`` is taken by something else.
    """
    # Not after an hour's work.
    require_replaceable(folder, RUN_FILE)
    module = open_data(data, options.val_split_ratio, options.seed, options.group_by)
    if notify is not None and (named := describe_batches(module.train + _split_off(module))):
        notify(named)
    model = _new_model(options)
    storage = Storage(
        folder=folder.absolute().with_name(f".{folder.absolute().name}.features"),
        fingerprint=_fingerprint(model, options, module),
        memory_limit=options.memory_limit,
        bank_size=options.bank_size,
        notify=notify,
    )
    engine = Engine(options.device, strict=options.strict)
    with engine.features(model, module, storage) as store:
        pool = store.pool()
        model.fit(pool, size=options.bank_size(*pool.shape), projection_eps=options.projection_eps)
        model.coreset_sampling_ratio = len(model.coreset_rows) / len(pool)
        grid = patch_grid(model.model, model.pre_processor.spec.input_size)
        batches = tuple(item.batch for item in module.train if item.batch)
        parts = find_parts(pool, grid, [file_sha256(item) for item in module.train], batches)
        if notify is not None and str(parts):
            notify(str(parts))
        units = units_of(parts.part, batches)
        outliers = find_outliers(pool, model.coreset_rows, [item.path for item in module.train], grid, units)
        left_out = _shown_already(engine, model, module, pool, grid)
        facts = save_fitted(folder, model, module, _Findings(outliers.suspects, left_out, options.group_by))
        if notify is not None and left_out:
            notify(
                f"{len(left_out)} of the images held out show parts that are among the training images; "
                "`calibrate` will leave them out."
            )
        _report_outliers(folder, model, module, outliers, notify)
        store.discard()
    return facts


@dataclass(frozen=True)
class _Findings:
    """What ``train`` found out about its images.

    Attributes:
        suspects: places of the training images that look unlike the others.
        left_out: images that were held out and show parts that are among the training images.
        group_by: pattern that finds the batches.
    """

    suspects: Sequence[int] = ()
    left_out: Sequence[ImageItem] = ()
    group_by: str | None = None


def _shown_already(
    engine: Engine, model: Patchcore, module: DataModule, pool: Pool, grid: tuple[int, int]
) -> list[ImageItem]:
    """Images held out beside the training images that show a part which is among those."""
    held = _split_off(module)
    if not held:
        return []
    fitted = {file_sha256(item) for item in module.train}
    with engine.features(model, DataModule(module.root, held)) as store:
        used = [held[place] for place in store.images]
        seen = shown_already(pool, store.pool(), grid)
    return [item for item, known in zip(used, seen, strict=True) if known or file_sha256(item) in fitted]


def save_fitted(folder: Path, model: Patchcore, module: DataModule, found: _Findings | None = None) -> RunFacts:
    """Write the RUN folder of a model that was fitted on ``module.train``."""
    found = found or _Findings()
    if model.pre_processor.prepared:
        raise ConfigError("A model without a pre-processor cannot be saved as a run; build it with one.")
    mean, std = model.pre_processor.statistics
    facts = RunFacts(
        name=folder.resolve().name,
        backbone=model.model.backbone,
        layers=model.model.layers,
        num_neighbors=model.model.num_neighbors,
        coreset_sampling_ratio=model.coreset_sampling_ratio,
        seed=model.seed,
        preprocess=model.pre_processor.spec,
        mean=mean,
        std=std,
        train_data=str(module.root),
        train_sha256=tuple(file_sha256(item) for item in module.train),
        held_out_sha256=tuple(_digest_or_nothing(item) for item in _split_off(module)),
        left_out_sha256=tuple(file_sha256(item) for item in found.left_out),
        suspect_sha256=tuple(file_sha256(module.train[place]) for place in found.suspects),
        group_by=found.group_by,
        patches=model.pool_size,
        bank_size=len(model.model.memory_bank),
        tools={"patchcore-edge": __version__, **{name: version(name) for name in ("torch", "timm", "opencv-python")}},
    )
    dataset = DataModule.dataset(module.train, model.pre_processor.spec)
    save_run(folder, model, facts, (dataset.image(index) for index in evenly(len(dataset))))
    return facts


def _split_off(module: DataModule) -> list[ImageItem]:
    """The validation images that lie beside the training images, where nothing but a record tells them apart."""
    beside = {item.path.parent for item in module.train}
    return [item for item in module.validation if item.path.parent in beside]


def evenly(count: int) -> list[int]:
    """Up to 128 places from first to last: as many images as a run keeps."""
    return [int(v) for v in np.unique(np.linspace(0, count - 1, min(_KEPT_IMAGES, count)).round())]


def file_sha256(item: ImageItem) -> str:
    """Digest of an image's file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return hashlib.sha256(item.path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{item.path} cannot be read ({error.strerror}).") from None


def _new_model(options: TrainOptions) -> Patchcore:
    height, width = options.image_size
    return Patchcore(
        options.backbone,
        options.layers,
        pre_trained=True,
        coreset_sampling_ratio=options.ratio,
        num_neighbors=options.num_neighbors,
        pre_processor=PreProcessor(PreprocessSpec(height=height, width=width)),
        post_processor=False,  # thresholds are `calibrate`'s
        weights=_weights_file(options),
        seed=options.seed,
    )


def _weights_file(options: TrainOptions) -> Path | None:
    if options.weights is not None:
        return None if options.weights == HUB else Path(options.weights)
    if local_weights(options.backbone) is None:
        raise DataError(
            f"There are no weights for {options.backbone} on this machine; "
            f"give --weights PATH, or --weights {HUB} to download timm's."
        )
    return None


def _fingerprint(model: Patchcore, options: TrainOptions, module: DataModule) -> str:
    """Of all that decides the features: images, weights, layers, preprocessing."""
    digest = hashlib.sha256()
    facts = (options.backbone, options.layers, model.pre_processor.spec.model_dump(), options.strict)
    digest.update(json.dumps(facts).encode())
    for name, tensor in sorted(model.model.feature_extractor.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    for item in module.train:
        digest.update(_digest_or_nothing(item).encode())
    return digest.hexdigest()


def _digest_or_nothing(item: ImageItem) -> str:
    try:
        return file_sha256(item)
    except DataError:
        return f"unreadable {item.path.name}"  # the dataset names it, and skips it unless --strict


def _report_outliers(
    folder: Path, model: Patchcore, module: DataModule, outliers: Outliers, notify: Callable[[str], None] | None
) -> None:
    dataset = DataModule.dataset(module.train, model.pre_processor.spec)
    page, title = folder / OUTLIERS_FILE, f"{folder.resolve().name}: training images that look least like the others"
    write_outliers(page, title, outliers, dataset.image)
    if notify is not None and outliers.suspects:
        names = [outliers.paths[i].name for i in outliers.suspects]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        notify(
            f"{len(names)} of {len(outliers.paths)} training images look unlike the others "
            f"({', '.join(names[:3])}{more}); look at {page} and take out what is not good."
        )
