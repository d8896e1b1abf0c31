"""How far a graph's scores and maps are from torch's, on the scale of what they are judged by.

A deviation counts against the threshold, or against torch's own value where that is larger: below the threshold
only absolute distances matter to a verdict, and a patch that the bank nearly holds has no score but rounding. Either
side is in units of its own threshold: a graph whose thresholds were found again may score on another scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchcore_edge.models import InferenceBatch, Patchcore
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.verdict import Thresholds

from .limits import UNBOUNDED
from .ties import tied_scores

__all__ = ["Raw", "Reference", "Scales", "TorchModel", "largest", "raw"]

_KEPT_BYTES = 512 << 20

TorchModel = Callable[[Tensor], InferenceBatch]
"""float32 torch on the CPU: ``[N,H,W,3]`` uint8 BGR → raw scores and maps; ``Patchcore`` is one."""


class Raw(NamedTuple):
    """A raw score and the raw map ``[1,H,W]`` it goes with."""

    score: float
    map: NDArray[np.float32]


class Scales(NamedTuple):
    """The thresholds that torch's scores are judged by, and those of the graph's."""

    torch: Thresholds
    graph: Thresholds

    def score(self, wanted: float, got: float) -> float:
        """Deviation of an image's score, relative to the larger of torch's and the image threshold."""
        one, other = wanted / self.torch.image, got / self.graph.image
        return abs(other - one) / max(one, 1.0)

    def map(self, wanted: NDArray[np.float32], got: NDArray[np.float32], floor: float = 0.0) -> float:
        """Largest deviation of a map, relative to the larger of torch's maximum and the pixel threshold.

        Values below ``floor``, a share of the pixel threshold, count as that; infinite where one is no finite number.
        """
        if not np.isfinite(got).all():
            return float("inf")
        one, other = np.maximum(wanted / self.torch.pixel, floor), np.maximum(got / self.graph.pixel, floor)
        return float(np.abs(other - one).max()) / max(float(one.max()), 1.0)

    def flips(self, wanted: Iterable[float], got: Iterable[float]) -> int:
        """How many raw scores are judged otherwise."""
        return sum(self.torch.judge(a) != self.graph.judge(b) for a, b in zip(wanted, got, strict=True))


class Reference:
    """float32 torch that is asked for the same images again and again: its answers are kept while memory allows."""

    def __init__(self, model: TorchModel) -> None:
        self._model = model
        self._answers: dict[bytes, InferenceBatch] = {}
        self._bytes = 0

    def tied_scores(self, image: Image, share: float) -> list[float]:
        """What the model might have given as well; see ``ties``."""
        return tied_scores(self._model, image, share) if isinstance(self._model, Patchcore) else []

    def __call__(self, images: Tensor) -> InferenceBatch:
        """As the model does."""
        key = blake2b(images.numpy().tobytes(), digest_size=16).digest()
        if key in self._answers:
            return self._answers[key]
        answer = self._model(images)
        size = answer.anomaly_map.nbytes
        if self._bytes + size <= _KEPT_BYTES:
            self._answers[key] = answer
            self._bytes += size
        return answer


def raw(model: TorchModel, image: Image) -> Raw:
    """What torch says of one image."""
    output = model(torch.from_numpy(image)[None])
    return Raw(float(output.pred_score[0]), output.anomaly_map[0].numpy())


def largest(values: Sequence[float]) -> float:
    """The largest; ``UNBOUNDED`` where one is not finite, which JSON could not say."""
    return min(max(values, default=0.0), UNBOUNDED) if np.isfinite(values).all() else UNBOUNDED
