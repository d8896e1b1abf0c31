"""The engine drives a model over data."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor
from tqdm import tqdm

from patchcore_edge_runtime.errors import ConfigError, DataError

from .data import Batch, DataModule, ImageDataset
from .embedder import Embedder
from .feature_store import FeatureStore
from .models import Patchcore
from .storage import Storage, open_store

__all__ = ["Engine", "resolve_device"]


def resolve_device(name: str) -> torch.device:
    """``auto`` takes CUDA, then XPU, then the CPU; any other name is torch's.

    Raises:
        ConfigError: torch has no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("xpu") if torch.xpu.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first_line = str(error).splitlines()[0]
        raise ConfigError(f"torch cannot use the device {name!r} ({first_line}); try --device cpu.") from None
    return device


class Engine:
    """Fits and predicts.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``xpu``.
        batch_size: images at a time.
        progress: show progress bars on a terminal.
    """

    def __init__(self, device: str = "auto", batch_size: int = 16, progress: bool = True) -> None:
        self.device = resolve_device(device)
        self.batch_size = batch_size
        self.progress = progress

    def fit(self, model: Patchcore, datamodule: DataModule) -> None:
        """Fill the model's memory bank from the training images.

        Raises:
            DataError: an image cannot be read.
        """
        with self.features(model, datamodule) as store:
            model.fit(store.pool())

    @contextmanager
    def features(
        self, model: Patchcore, datamodule: DataModule, storage: Storage | None = None
    ) -> Iterator[FeatureStore]:
        """The features of the training images; what an earlier, interrupted call left in ``storage`` is used.

        Raises:
            DataError: an image cannot be read.
            ConfigError: memory and disk cannot hold the features.
        """
        model.to(self.device)
        # channels_last: three times as fast for depthwise convolutions on the CPU.
        model.model.feature_extractor.to(memory_format=torch.channels_last)
        items = datamodule.train
        positions = {item.path: position for position, item in enumerate(items)}
        with open_store(model, len(items), storage or Storage()) as store:
            dataset = datamodule.dataset(items[store.next_image :], model.pre_processor.spec)
            embed = Embedder(model, len(dataset))
            for batch in self._batches(dataset, "features"):
                store.append([positions[path] for path in batch.image_path], embed(batch.image))
            datamodule.train = [items[position] for position in store.images]
            yield store

    def predict(self, model: Patchcore, dataset: ImageDataset) -> Iterator[Batch]:
        """Score a dataset, batch by batch; results are on the CPU.

        Raises:
            DataError: an image cannot be read, or there is none.
        """
        if not len(dataset):
            raise DataError("There are no images to score; check the data's layout.")
        model.to(self.device)
        model.model.feature_extractor.to(memory_format=torch.channels_last)
        for batch in self._batches(dataset, "scores"):
            scored = model.validation_step(batch)
            yield scored._replace(pred_score=_cpu(scored.pred_score), anomaly_map=_cpu(scored.anomaly_map))

    def _batches(self, dataset: ImageDataset, what: str) -> Iterator[Batch]:
        with tqdm(total=len(dataset), desc=what, unit="image", disable=None if self.progress else True) as bar:
            for batch in _ahead(dataset.batches(self.batch_size)):
                yield batch._replace(image=batch.image.to(self.device))
                bar.update(len(batch.image))


def _ahead(batches: Iterator[Batch], depth: int = 2) -> Iterator[Batch]:
    """The batches, decoded in a thread while earlier ones are worked on."""
    with ThreadPoolExecutor(1, "decode") as thread:
        coming = deque(thread.submit(next, batches, None) for _ in range(depth))
        try:
            while (batch := coming.popleft().result()) is not None:
                coming.append(thread.submit(next, batches, None))
                yield batch
        finally:
            for future in coming:
                future.cancel()


def _cpu(values: Tensor | None) -> Tensor:
    assert values is not None
    return values.cpu()
