"""What the benchmarks work on: real images from the package index, never zeros."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from patchcore_edge.data import DataModule, ImageDataset, ImageItem
from patchcore_edge.models import Patchcore
from patchcore_edge.models.weights import DEFAULT_BACKBONE, DEFAULT_LAYERS
from patchcore_edge_runtime.images.preprocess import PreprocessSpec
from samples.demo.cells import TRAIN_IMAGES, cell_files


def cells(count: int, size: int) -> ImageDataset:
    """The first good monocrystalline cells of ``elpv-dataset`` at ``size`` pixels."""
    items = [ImageItem(path) for path in cell_files()[0][:count]]
    return DataModule.dataset(items, PreprocessSpec(height=size, width=size))


def cell_pool(scratch: Path) -> Path:
    """The patches of 300 cells, EfficientNet-Lite0 at 224 px: ``[235200, 152]`` float32 as ``.npy``; made once."""
    file = scratch / "cell_pool.npy"
    if not file.is_file():
        dataset = cells(TRAIN_IMAGES, 224)
        model = Patchcore(DEFAULT_BACKBONE, DEFAULT_LAYERS, pre_processor=Patchcore.configure_pre_processor((224, 224)))
        for batch in dataset.batches(16):
            model.training_step(batch)
        np.save(file, np.concatenate([embedding.numpy() for embedding in model.embeddings]))
    return file
