"""What processes that share a job find out about their own images, and each then knows of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from patchcore_edge_runtime.images.preprocess import PreprocessSpec

from ..data.batch import Batch
from ..data.dataset import ImageDataset, ImageItem
from ..data.decoded_files import DecodedFiles
from ..data.digests import FileDigests
from ..data.perceptual_hash import PictureHashes
from ..data.pixel_facts import PixelFacts, pixel_facts
from ..engine import Engine
from ..fit.distributed.ranks import ranks
from ..fit.distributed.store import ShardedStore
from ..fit.feature_store import FeatureStore
from ..metrics.pixel_histogram import PixelHistogram
from ..metrics.scores import Scores, collect_scores
from ..models import Patchcore

__all__ = ["shared_digests", "shared_files", "shared_hashes", "shared_pixel_facts", "shared_scores"]


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


def shared_files(items: Sequence[ImageItem], spec: PreprocessSpec) -> DecodedFiles:
    """As ``DecodedFiles``; each process reads some of the files, and all know what was found."""
    job = ranks()
    files = DecodedFiles(items, spec, job.stretch)
    if job.size > 1:
        found = [one for some in job.values(files.found()) for one in some]
        files.know(dict.fromkeys(item.path for item in items), found)
    return files


def shared_scores(
    engine: Engine,
    model: Patchcore,
    dataset: ImageDataset,
    what: str = "scores",
    watch: Callable[[Iterable[Batch]], Iterable[Batch]] = iter,
) -> Scores:
    """Scores of a dataset, of which each process scores a stretch; see ``collect_scores``.

    Args:
        engine: of this process.
        model: fitted.
        dataset: labelled images.
        what: the progress bar's name.
        watch: sees this process's batches go by.

    Raises:
        DataError: there are no images, or none that can be read; with a strict engine, one cannot be read.
    """
    job = ranks()
    if job.size == 1 or not len(dataset):
        return collect_scores(watch(engine.stream(model, dataset, what)))
    places = {item.path: place for place, item in enumerate(dataset.items)}
    lost: list[str] = []
    stream = engine.stream(model, dataset.part(job.stretch(len(dataset))), what, report=lost.extend)
    own = collect_scores(watch(stream), part=True)
    dataset.report_lost([reason for some in job.values(lost) for reason in some])

    def whole(column: Any) -> NDArray[Any]:
        return np.asarray(job.gather(torch.as_tensor(np.asarray(column))).numpy())

    read = whole(np.array([places[path] for path in own.paths], np.int64))
    labels, has_mask = whole(own.labels), whole(own.has_mask)
    assert own.pixels is not None
    bins, pixels, overlap, regions = own.pixels.counts()
    counted = PixelHistogram()
    counted.add_counts(whole(bins), whole(pixels), whole(overlap), int(whole(np.array([regions])).sum()))
    return Scores(
        paths=[dataset.items[place].path for place in read.tolist()],
        kinds=[kind for some in job.values(own.kinds) for kind in some],
        labels=labels,
        scores=whole(own.scores),
        map_maxima=whole(own.map_maxima),
        map_medians=whole(own.map_medians),
        pixels=counted if (has_mask & labels).any() else None,
        has_mask=has_mask,
    )
