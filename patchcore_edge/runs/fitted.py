"""From a fitted model to its RUN folder: what it was fitted on goes with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.path_text import encodable, path_text
from patchcore_edge_runtime.version import __version__

from ..data import DataModule, FolderRules, ImageItem
from ..data.digests import FileDigests
from ..data.evenly_spaced import evenly_spaced
from ..data.lists import is_there
from ..models import Patchcore
from .checkpoint import save_run
from .facts import RunFacts

__all__ = ["FitFindings", "save_fitted", "split_off"]


@dataclass(frozen=True)
class FitFindings:
    """What a fit found out about its images.

    Attributes:
        suspects: training images that look unlike the others.
        left_out: images that were held out and show parts that are among the training images.
        folders: how the folders were read.
    """

    suspects: Sequence[ImageItem] = ()
    left_out: Sequence[ImageItem] = ()
    folders: FolderRules = field(default_factory=FolderRules)


def save_fitted(
    folder: Path,
    model: Patchcore,
    module: DataModule,
    found: FitFindings | None = None,
    digest: Callable[[Path], str] | None = None,
) -> RunFacts:
    """Write the RUN folder of a model that was fitted on ``module.train``.

    Args:
        folder: RUN; an earlier one is replaced.
        model: fitted.
        module: what it was fitted on; validation images beside its training images are recorded as held out.
        found: what the fit found out.
        digest: gives the digest of a file, where it is known already.

    Raises:
        ConfigError: the model has no pre-processor.
        CheckpointError: the folder cannot be written, or is something else.
    """
    found, digest = found or FitFindings(), digest or FileDigests()
    if model.pre_processor.prepared:
        raise ConfigError("A model without a pre-processor cannot be saved as a run; build it with one.")
    mean, std = model.pre_processor.statistics

    def digests(items: Sequence[ImageItem]) -> tuple[str, ...]:
        return tuple(digest(item.path) for item in items)

    facts = RunFacts(
        name=path_text(folder.resolve().name),
        backbone=model.model.backbone,
        layers=model.model.layers,
        num_neighbors=model.model.num_neighbors,
        coreset_sampling_ratio=model.coreset_sampling_ratio,
        seed=model.seed,
        preprocess=model.pre_processor.spec,
        mean=mean,
        std=std,
        train_data=str(module),
        train_place=path_text(Path(module.root).absolute()) if is_there(Path(module.root)) else "",
        train_sha256=digests(module.train),
        held_out_sha256=digests(split_off(module)),
        left_out_sha256=digests(found.left_out),
        suspect_sha256=digests(found.suspects),
        group_by=found.folders.group_by,
        good=tuple(map(encodable, found.folders.good)),
        recursive=found.folders.recursive,
        score=model.model.score,
        pca=model.pca,
        patch_stride=model.model.patch_stride,
        patch_size=model.model.patch_size,
        centering=model.model.centering,
        augment=model.augment,
        ignore_masks=model.ignore_masks,
        patches=model.pool_size,
        bank_size=len(model.model.memory_bank),
        tools={"patchcore-edge": __version__, **{name: version(name) for name in ("torch", "timm", "opencv-python")}},
    )
    dataset = DataModule.dataset(module.train, model.pre_processor.spec)
    save_run(folder, model, facts, (dataset.image(index) for index in evenly_spaced(len(dataset))))
    return facts


def split_off(module: DataModule) -> list[ImageItem]:
    """The validation images that lie beside the training images, where nothing but a record tells them apart."""
    beside = {item.path.parent for item in module.train}
    return [item for item in module.validation if item.path.parent in beside]
