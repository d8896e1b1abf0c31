"""From a view to the features that its recipes share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.bundle.recipe import ScoreRule
from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.preprocess import PreprocessSpec, preprocess

from ..data import ImageItem
from ..data.dataset import ImageDataset
from ..data.decoded_files import DecodedFiles
from ..engine import Engine
from ..fit.distributed.ranks import Ranks, ranks, sharing
from ..fit.storage import FeatureStorageOptions, open_store
from ..jobs.sight import Sight
from ..models import Patchcore
from ..models.pool import Pool, pool_rows
from ..models.pre_processor import PreProcessor
from ..models.weights import weights_file
from .judge import Seen
from .recipe import View
from .samples import Defects

__all__ = ["Pictures", "columns_of", "seen", "view_model", "whole_pool"]


@dataclass(frozen=True)
class Pictures:
    """What all views look at.

    Attributes:
        good: good images that recipes are judged on.
        real: labelled images that no bank is from.
        defects: made on the good images.
        files: all of them decoded at the size at which defects were made.
        sight: what of them counts.
    """

    good: Sequence[ImageItem]
    real: Sequence[ImageItem]
    defects: Defects
    files: DecodedFiles
    sight: Sight

    def dataset(self, items: Sequence[ImageItem], spec: PreprocessSpec) -> ImageDataset:
        """Good or labelled images at a model's size: by way of that at which defects were made, as they come."""
        seen = spec.looking_at(None)  # the region was cut out when the files were decoded
        return ImageDataset(items, spec, lambda path: preprocess(self.files.pixels(path), seen))


def view_model(
    view: View,
    weights: str | None,
    sight: Sight,
    layers: Sequence[str] | None = None,
    score: ScoreRule = ScoreRule.REFERENCE,
    centering: float = 0.0,
) -> Patchcore:
    """The network of a view, with some of its layers (all when None) and no bank."""
    return Patchcore(
        view.backbone,
        layers or view.layers,
        pre_trained=True,
        pre_processor=PreProcessor(sight.spec(view.image_size)),
        post_processor=False,
        weights=weights_file(view.backbone, weights),
        score=score,
        patch_stride=view.patch_stride,
        centering=centering,
        ignore_masks=sight.ignore_masks,
    )


@contextmanager
def seen(view: View, model: Patchcore, pictures: Pictures, engine: Engine) -> Iterator[Seen]:
    """The features of all pictures, in memory or in temporary files while they are judged."""
    spec = model.pre_processor.spec
    grid = model.model.patch_grid(spec.input_size)
    with ExitStack() as held:

        def pool(dataset: ImageDataset) -> Pool:
            return held.enter_context(whole_pool(engine, model, dataset))

        good = pool(pictures.dataset(pictures.good, spec))
        defects = pool(pictures.defects.dataset(spec))
        real = pool(pictures.dataset(pictures.real, spec)) if pictures.real else None
        coverage = pictures.defects.coverage(grid)
        if model.counted_rows is not None:
            coverage = coverage * model.counted_rows
        sources, counted = pictures.defects.sources, model.counted_rows
        yield Seen(good, defects, sources, coverage, grid, spec.input_size, real, counted)


@contextmanager
def whole_pool(engine: Engine, model: Patchcore, dataset: ImageDataset) -> Iterator[Pool]:
    """The features of a dataset's images; processes that share the job extract some each, and have all.

    Raises:
        DataError: a file cannot be read that could be read before.
    """
    job = ranks()
    with ExitStack() as held:
        store = held.enter_context(engine.features(model, dataset))
        if len(store.images) < len(dataset):
            raise DataError("A file could not be read again while recipes were compared; run `tune` once more.")
        if job.size == 1:
            yield store.pool()
            return
        shared, patches = store.pool(), len(store.pool()) // len(dataset)
        largest = float(pool_rows(shared, slice(patches)).abs().max())
        # Each has room for all of them, or a file of its own.
        with sharing(Ranks(local_size=job.local_size)):
            whole = held.enter_context(open_store(model, len(dataset), FeatureStorageOptions(), lambda: largest))
        for start in range(0, len(dataset), engine.batch_size):
            places = range(start, min(start + engine.batch_size, len(dataset)))
            whole.append(list(places), pool_rows(shared, slice(places[0] * patches, (places[-1] + 1) * patches)))
        yield whole.pool()


def columns_of(model: Patchcore, layers: Sequence[str]) -> NDArray[np.int64]:
    """Where some layers' features are in a row of all."""
    sizes = [model.model.feature_extractor.out_dims[layer] for layer in model.model.layers]
    ends = np.cumsum(sizes)
    ranges = {
        layer: np.arange(end - size, end) for layer, size, end in zip(model.model.layers, sizes, ends, strict=True)
    }
    return np.concatenate([ranges[layer] for layer in layers]).astype(np.int64)
