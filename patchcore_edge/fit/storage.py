"""The choice of a feature store: what fits where, said before the work begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from patchcore_edge_runtime.errors import CheckpointError, ConfigError, DataError

from ..models import Patchcore
from ..models.k_center_greedy import coreset_size
from .distributed.ranks import ranks
from .distributed.store import require_same_ranks, store_folder
from .feature_store import FeatureStore, StoreHeader, stored_bytes
from .memory_plan import FitPlan, require_disk

__all__ = ["FeatureStorageOptions", "open_store"]

_FLOAT16_COMFORT = 65504 / 16
"""Where one image's largest feature is beyond this, others may come too near to float16's end."""


@dataclass(frozen=True)
class FeatureStorageOptions:
    """How a fit may keep its features.

    Attributes:
        folder: where an interrupted fit can go on from; a temporary one, if any, when None.
        fingerprint: of the images, the weights and the options; see ``StoreHeader``.
        memory_limit: bytes of features to hold in memory; half of what is free when None.
        bank_size: patches that will be kept of so many patches and dimensions, for the plan.
        notify: takes a sentence for a person.
    """

    folder: Path | None = None
    fingerprint: str = ""
    memory_limit: int | None = None
    bank_size: Callable[[int, int], int] | None = None
    notify: Callable[[str], None] | None = None


@contextmanager
def open_store(
    model: Patchcore, images: int, storage: FeatureStorageOptions, largest: Callable[[], float], copies: int = 0
) -> Iterator[FeatureStore]:
    """A store of the right kind for so many images; nothing of it stays in memory or in temporary files.

    Args:
        model: whose features they are.
        images: how many, of which this process's stretch is stored.
        storage: where the features may go.
        largest: gives the largest feature of some image, 0 without any; asked only where features go to disk.
        copies: augmented ones of each image, whose rows come with its own.

    Raises:
        ConfigError: neither memory nor disk can hold the features.
        CheckpointError: another number of processes began to fill the folder.
    """
    plan, job = _plan(model, images, storage, copies), ranks()
    folder = store_folder(storage.folder, job)
    # What one process keeps otherwise than another would be another bank.
    in_memory = all(job.values(plan.fits(storage.memory_limit)))
    dtype = "float32" if in_memory else _disk_dtype(plan, folder, largest)
    header = StoreHeader(storage.fingerprint, plan.patches * (1 + copies), plan.dimensions, dtype)
    disk = plan.store_bytes(np.dtype(dtype).itemsize)
    with ExitStack() as stack:
        if storage.folder is not None:
            require_same_ranks(storage.folder, header, job)
        if folder is None and not in_memory:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="patchcore-edge-")))
        if storage.notify is not None:
            storage.notify(plan.describe(None if in_memory else dtype, 0 if folder is None else disk))
        if folder is not None:
            require_disk(folder, (disk - stored_bytes(folder)) * job.local_size)
        store = FeatureStore(header, len(job.stretch(images)), in_memory, folder)
        stack.callback(store.close)
        kept = int(job.sum(torch.tensor([len(store.images)])))
        if kept and storage.notify is not None:
            storage.notify(f"Going on after {kept} images that an interrupted fit left in {storage.folder}.")
        with _kept_where_it_helps(store):
            yield store


def _plan(model: Patchcore, images: int, storage: FeatureStorageOptions, copies: int) -> FitPlan:
    rows, columns = model.model.patch_grid(model.pre_processor.spec.input_size)
    patches, dimensions = rows * columns, model.model.embedding_dim
    pool = images * (1 + copies) * patches
    if model.counted_rows is not None:
        pool = images * int(model.counted_rows.sum())
    size = storage.bank_size(pool, dimensions) if storage.bank_size else None
    kept = size or coreset_size(pool, model.coreset_sampling_ratio)
    job = ranks()
    return FitPlan(images, patches, dimensions, kept, copies, job.size, job.local_size)


def _disk_dtype(plan: FitPlan, folder: Path | None, largest: Callable[[], float]) -> str:
    if folder is not None:
        # Before any image is read.
        require_disk(folder, (plan.store_bytes(np.dtype("float16").itemsize) - stored_bytes(folder)) * plan.local_ranks)
    found = next((value for value in ranks().values(largest()) if value), 0.0)
    return "float32" if found > _FLOAT16_COMFORT else "float16"


@contextmanager
def _kept_where_it_helps(store: FeatureStore) -> Iterator[None]:
    """What an interrupted fit can go on from is kept; what it cannot is deleted."""
    try:
        yield
    except CheckpointError:
        raise  # the disk is full, say: what is there is good
    except ConfigError as error:
        if isinstance(error, DataError) and store.images:
            raise  # an image that cannot be read now says nothing of those before
        # What has to change before the next try changes the fingerprint too.
        store.discard()
        raise
