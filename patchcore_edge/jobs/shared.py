"""What processes that share a job find out about their own images, and each then knows of all."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.dataset import ImageDataset
from ..data.digests import FileDigests
from ..data.perceptual_hash import PictureHashes
from ..data.pixel_facts import PixelFacts, pixel_facts
from ..fit.distributed.ranks import ranks
from ..fit.distributed.store import ShardedStore
from ..fit.feature_store import FeatureStore

__all__ = ["shared_digests", "shared_hashes", "shared_pixel_facts"]


def shared_digests(paths: Sequence[Path], digests: FileDigests) -> None:
    """Have the digests of some files, each of which is read by one process."""
    job = ranks()
    if job.size == 1:
        return
    with ThreadPoolExecutor() as threads:
        own = list(threads.map(digests, [paths[place] for place in job.stretch(len(paths))]))
    digests.know(paths, [digest for some in job.values(own) for digest in some])


def shared_hashes(
    hashes: PictureHashes, dataset: ImageDataset, store: FeatureStore | ShardedStore
) -> list[NDArray[np.bool_]]:
    """Hashes of the images whose features a store holds, in their order; each process hashes its own."""
    own = hashes.of(dataset.part(store.own_images))
    bits = np.stack(own) if own else np.zeros((0, 64), np.bool_)
    return list(ranks().gather(torch.from_numpy(bits)).numpy())


def shared_pixel_facts(paths: Sequence[Path]) -> PixelFacts:
    """As ``pixel_facts``; each process looks at its own."""
    job = ranks()
    own = pixel_facts([paths[place] for place in job.stretch(len(paths))])
    return sum((PixelFacts(**found) for found in job.values(vars(own))), PixelFacts())
