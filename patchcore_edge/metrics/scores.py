"""What a model says of images, brought together for measuring."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.path_text import path_text

from ..data.batch import Batch
from .pixel_histogram import PixelHistogram

__all__ = ["Scores", "collect_scores"]


@dataclass(frozen=True)
class Scores:
    """Raw results of n images.

    Attributes:
        paths: the files.
        kinds: the name of each file's folder: ``good`` or a defect.
        labels: ``[n]`` bool, True for defective.
        scores: ``[n]`` float32 raw image scores.
        map_maxima, map_medians: ``[n]`` float32 largest and middle value of each raw map.
        pixels: what the maps say of good and defective pixels, of the images whose masks are known; None where none is.
        maps: n raw maps ``[H,W]``, if they were to be kept; else none.
        masks: n defect masks ``[H,W]``, likewise; None where the data has none for an image.
        groups: the batch (lot, day, camera) of each image, "" where it is not known; none where no image's is.
        has_mask: ``[n]`` bool, whether ``pixels`` has the image; good images count as known. None where all are.
    """

    paths: list[Path]
    kinds: list[str]
    labels: NDArray[np.bool_]
    scores: NDArray[np.float32]
    map_maxima: NDArray[np.float32]
    map_medians: NDArray[np.float32]
    pixels: PixelHistogram | None
    maps: list[NDArray[np.float32]] = field(default_factory=list)
    masks: list[NDArray[np.bool_] | None] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    has_mask: NDArray[np.bool_] | None = None

    @property
    def pixel_images(self) -> int:
        """How many images ``pixels`` is over."""
        if self.pixels is None:
            return 0
        return len(self.labels) if self.has_mask is None else int(self.has_mask.sum())

    @property
    def pixel_masks(self) -> int:
        """How many of those are defective, and so have a mask that marks something."""
        if self.pixels is None:
            return 0
        return int(self.labels.sum() if self.has_mask is None else (self.labels & self.has_mask).sum())


def collect_scores(
    batches: Iterable[Batch],
    *,
    keep_maps: bool = False,
    group_of: Callable[[Path], str] | None = None,
    part: bool = False,
) -> Scores:
    """Bring the engine's predictions together; of a map, only what the metrics need is held after its batch.

    Args:
        batches: scored and labelled, on the CPU.
        keep_maps: hold all maps and masks too: 320 KiB per image of 256x256 pixels.
        group_of: gives the batch (lot, day, camera) of a file, "" where it is not known; none is known when absent.
        part: they are some of many, perhaps none, and pixels are counted whatever they are.

    Raises:
        DataError: the images are not labelled, or a map holds what is no distance.
    """
    paths: list[Path] = []
    maps: list[NDArray[np.float32]] = []
    masks: list[NDArray[np.bool_] | None] = []
    columns: list[tuple[NDArray[Any], ...]] = []
    pixels = PixelHistogram()
    for batch in batches:
        assert batch.pred_score is not None
        assert batch.anomaly_map is not None
        if batch.gt_label is None:
            raise DataError("The images are not labelled good or defective; scores of such images cannot be measured.")
        raw = batch.anomaly_map[:, 0].numpy()
        known = _masks(batch)
        paths.extend(batch.image_path)
        columns.append(
            (
                batch.gt_label.numpy(),
                batch.pred_score.numpy(),
                raw.max((1, 2)),
                np.median(raw, (1, 2)),
                np.array([mask is not None for mask in known], np.bool_),
            )
        )
        for one, mask in zip(raw, known, strict=True):
            if mask is not None:
                pixels.add(one, mask)
        if keep_maps:
            maps.extend(raw)
            masks.extend(known)
    if not columns and part:
        columns = [tuple(np.zeros(0, kind) for kind in (np.bool_, np.float32, np.float32, np.float32, np.bool_))]
    labels, scores, maxima, medians, has_mask = (np.concatenate(column) for column in zip(*columns, strict=True))
    kinds = [path_text(path.parent.name) for path in paths]
    groups = [] if group_of is None else [group_of(path) for path in paths]
    # Of good pixels alone nothing can be measured.
    counted = pixels if part or (has_mask & labels).any() else None
    return Scores(paths, kinds, labels, scores, maxima, medians, counted, maps, masks, groups, has_mask)


def _masks(batch: Batch) -> list[NDArray[np.bool_] | None]:
    """Of each image of a batch; None where it is not known."""
    if batch.gt_mask is None:
        return [None] * len(batch.image)
    masks = list(batch.gt_mask.numpy())
    if batch.has_mask is None:
        return masks
    return [mask if known else None for mask, known in zip(masks, batch.has_mask.tolist(), strict=True)]
