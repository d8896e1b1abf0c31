"""The engine drives a model over data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from patchcore_edge_runtime.errors import ConfigError, DataError

from .data import Batch, DataModule, ImageDataset, prediction_dataset, prediction_items
from .data.augmentation import Augmenter
from .data.file_names import new_pictures
from .data.prefetch import prefetch
from .data.side_by_side import map_middle
from .data.spellings import OF_ENGINE, refuse_or_say
from .fit.depth import find_depth
from .fit.devices import chosen_device, pinned, resolve_device
from .fit.distributed.ranks import ranks
from .fit.distributed.store import ShardedStore
from .fit.embedder import Embedder, largest_feature
from .fit.feature_store import FeatureStore
from .fit.half_precision import half_types
from .fit.storage import FeatureStorageOptions, open_store
from .metrics.evaluator import Evaluation
from .metrics.scores import collect_scores
from .models import Patchcore
from .plugins import load_exporter

if TYPE_CHECKING:
    from patchcore_edge_runtime.bundle.manifest import Manifest

__all__ = ["Engine", "resolve_device"]

_log = logging.getLogger(__name__)
_NO_COPIES = Augmenter(None)


class Engine:
    """Fits and predicts.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``xpu``; ``auto`` when absent.
        batch_size: images at a time.
        progress: show progress bars on a terminal.
        strict: make an image that cannot be read an error; otherwise such images are named, counted and left out.
        accelerator: Lightning's word for the kind of device; see ``chosen_device``.
        devices: Lightning's word for how many, or which.
        others: what anomalib's engine takes besides; see ``refuse_or_say``.

    Raises:
        ConfigError: torch has no such device here, or a word would change what comes out.
        TypeError: a word that neither takes.
    """

    def __init__(
        self,
        device: str | None = None,
        batch_size: int = 16,
        progress: bool = True,
        *,
        strict: bool = False,
        accelerator: str | None = None,
        devices: int | str | Sequence[int] = "auto",
        **others: Any,
    ) -> None:
        progress = bool(others.pop("enable_progress_bar", progress))
        refuse_or_say("Engine", others, OF_ENGINE)
        self.device = chosen_device(device, accelerator, devices)
        self.batch_size = batch_size
        self.progress = progress
        self.strict = strict

    def fit(self, model: Patchcore, datamodule: DataModule) -> None:
        """Fill the model's memory bank from the training images, and set its thresholds from validation images.

        Without validation images it has none, which is logged: it then scores and labels nothing. Where the model says
        no bit depth, the one that the images use is found, logged and kept in its preprocessing.

        Raises:
            DataError: no image can be read; with ``strict``, one cannot.
        """
        find_depth(model, [*datamodule.train, *datamodule.validation])
        dataset = datamodule.dataset(datamodule.train, model.pre_processor.spec)
        with self.features(model, dataset, augment=True) as store:
            model.fit(store.pool())
        if model.post_processor is None or model.post_processor.thresholds is not None:
            return
        if not datamodule.validation:
            _log.warning(
                "The model has no thresholds, so it labels nothing: %s has no validation images. Hold some out "
                "(val_split_ratio), or export, which scores the training images by banks that have not seen them.",
                datamodule.root,
            )
            return
        held_out = datamodule.dataset(datamodule.validation, model.pre_processor.spec)
        model.post_processor.calibrate(collect_scores(self.stream(model, held_out)), str(datamodule))

    @contextmanager
    def features(
        self,
        model: Patchcore,
        dataset: ImageDataset,
        storage: FeatureStorageOptions | None = None,
        watch: Callable[[Batch], None] | None = None,
        *,
        augment: bool = False,
        half: bool = False,
    ) -> Iterator[FeatureStore | ShardedStore]:
        """The features of a dataset's images; what an earlier, interrupted call left in ``storage`` is used.

        The store's ``images`` are the places of those that could be read; ``watch`` is given each decoded batch. With
        ``augment`` an image's rows are followed by those of its copies, if the model augments. With ``half`` an
        accelerator may compute in half precision where distances to a bank of such rows are right. Processes that share
        a job each extract a stretch of the images.

        Raises:
            DataError: no image can be read; with ``strict``, one cannot.
            ConfigError: memory and disk cannot hold the features.
        """
        self._prepare(model)
        job, whole = ranks(), dataset
        stretch = job.stretch(len(whole))
        dataset = whole.part(stretch) if job.size > 1 else whole
        places = {item.path: place for place, item in enumerate(dataset.items)}
        largest = partial(largest_feature, model, dataset, strict=self.strict)
        copied = Augmenter(model.augment if augment else None, model.seed)
        options = storage or FeatureStorageOptions()
        with open_store(model, len(whole), options, largest, copied.pictures - 1) as store:
            rest = dataset.part(range(store.next_image, len(dataset)))
            embed = Embedder(model, len(rest) * copied.pictures, half=half_types(self.device) if half else ())
            lost: list[str] = []
            for batch in self._batches(rest, "features", report=lost.extend, copied=copied):
                store.append([places[path] for path in batch.image_path], embed(batch.image))
                if watch is not None:
                    watch(batch._replace(image=batch.image[:: copied.pictures]))
            lost = [reason for some in job.values(lost) for reason in some]
            there = ShardedStore(store, stretch.start, job) if job.size > 1 else store
            rest.report_lost(lost, any_needed=not there.images, of=sum(job.values(len(rest))))
            yield there

    def _prepare(self, model: Patchcore) -> None:
        model.to(self.device)
        # channels_last: three times as fast for depthwise convolutions on the CPU.
        model.model.feature_extractor.to(memory_format=torch.channels_last)

    def test(self, model: Patchcore, datamodule: DataModule, *, output: Path | None = None) -> Evaluation:
        """Measure a fitted model on the test images.

        Args:
            model: with an evaluator.
            datamodule: with test images.
            output: folder for the visualizer's pictures, for which the images are scored once more; none are written
                when absent.

        Raises:
            DataError: there are no test images, or none that can be read.
            ConfigError: the model was built without an evaluator, or pictures of an earlier call lie in ``output``.
        """
        if model.evaluator is None:
            raise ConfigError("The model has no evaluator; build it with evaluator=True.")
        dataset = datamodule.dataset(prediction_items(datamodule), model.pre_processor.spec)
        names = new_pictures([item.path for item in dataset.items], output)
        pictures = output is not None and model.visualizer is not None
        # Of both passes: to compile a backbone takes seconds.
        embed = Embedder(model, len(dataset) * (1 + pictures))
        scores = collect_scores(self.stream(model, dataset, embed=embed))
        thresholds = None if model.post_processor is None else model.post_processor.thresholds
        if scores.pixels is not None and scores.pixel_images < len(scores.labels):
            _log.warning(
                "The pixel metrics are over %d of %d images: of the others no mask says which pixels are defective.",
                scores.pixel_images,
                len(scores.labels),
            )
        if output is not None and model.visualizer is not None:
            middle = map_middle(thresholds, scores.map_maxima)
            for batch in self.stream(model, dataset, "pictures", embed=embed):
                model.visualizer.save(batch, middle, output, names)
        return model.evaluator(scores, thresholds)

    def predict(
        self,
        model: Patchcore,
        source: DataModule | ImageDataset | str | Path | None = None,
        *,
        datamodule: DataModule | None = None,
        dataset: ImageDataset | None = None,
        data_path: str | Path | None = None,
        output: Path | None = None,
        recursive: bool = True,
    ) -> list[Batch]:
        """Score images; all results are held, on the CPU. For more images than memory holds, see ``stream``.

        Args:
            model: fitted.
            source: a datamodule (its test images), a dataset, a folder or one image; in its place one of the next
                three may be named.
            datamodule: as ``source``.
            dataset: as ``source``.
            data_path: as ``source``.
            output: folder for the visualizer's pictures; none are written when absent.
            recursive: of a folder, its subfolders too.

        Raises:
            DataError: there are no images, or none that can be read.
            ConfigError: not exactly one source was given, or pictures of an earlier call lie in ``output``.
        """
        offered = (source, datamodule, dataset, data_path)
        chosen = prediction_dataset(offered, model.pre_processor.spec, recursive=recursive, output=output)
        names = new_pictures([item.path for item in chosen.items], output)
        scored = list(self.stream(model, chosen))
        if output is not None and model.visualizer is not None:
            maxima = [batch.anomaly_map.amax((1, 2, 3)).numpy() for batch in scored if batch.anomaly_map is not None]
            middle = map_middle(scored[0].thresholds, np.concatenate(maxima))
            for batch in scored:
                model.visualizer.save(batch, middle, output, names)
        return scored

    def export(
        self,
        model: Patchcore,
        datamodule: DataModule,
        output: str | Path,
        options: Any = None,
        *,
        target_fpr: float | None = None,
    ) -> Manifest:
        """Export a fitted model to an OpenVINO bundle, behind the gate that compares it with torch.

        Args:
            model: fitted on ``datamodule.train``.
            datamodule: its validation images set the thresholds and pass the gate; without any, its training images do,
                cross-fitted.
            output: bundle folder to write.
            options: precision, search and formats, a ``patchcore_edge_export.api.GraphOptions``; float32 and exact when
                absent.
            target_fpr: share of good parts that may be called NG, in (0, 1); see ``calibrate_on_scores`` for None.

        Raises:
            DataError: an image that the model was fitted on is among those to calibrate with.
            ParityError: the graph does not score as the model does; nothing is written.
            ConfigError: the extra ``export`` is not installed.
        """
        export = load_exporter()
        where = str(self.device)
        return export(model, datamodule, Path(output), options, target_fpr=target_fpr, device=where, strict=self.strict)

    def stream(
        self,
        model: Patchcore,
        dataset: ImageDataset,
        what: str = "scores",
        *,
        report: Callable[[list[str]], None] | None = None,
        embed: Embedder | None = None,
    ) -> Iterator[Batch]:
        """Score a dataset batch by batch, so that nothing but one batch is held; results are on the CPU.

        Args:
            model: fitted.
            dataset: images of the model's size.
            what: the progress bar's name.
            report: takes the reasons why files were left out, in place of logging them; there may then be no others.
            embed: of an earlier call with the same model, with what it has compiled.

        Raises:
            DataError: there are no images, or none that can be read; with ``strict``, one cannot be read.
        """
        if not len(dataset) and report is None:
            raise DataError("There are no images to score; check the data's layout.")
        self._prepare(model)
        embed = embed or Embedder(model, len(dataset))
        for batch in self._batches(dataset, what, report=report):
            yield model.score_features(batch, embed(batch.image)).on_cpu()

    def _batches(
        self,
        dataset: ImageDataset,
        what: str,
        *,
        report: Callable[[list[str]], None] | None = None,
        copied: Augmenter = _NO_COPIES,
    ) -> Iterator[Batch]:
        """Batches of at most about ``batch_size`` pictures, each image followed by its copies."""
        size = max(1, self.batch_size // copied.pictures)
        decoded = dataset.batches(size, strict=self.strict, report=report)
        with tqdm(total=len(dataset), desc=what, unit="image", disable=None if self.progress else True) as bar:
            for batch in prefetch(batch._replace(image=pinned(copied(batch.image), self.device)) for batch in decoded):
                yield batch._replace(image=batch.image.to(self.device, non_blocking=True))
                bar.update(len(batch.image_path))
