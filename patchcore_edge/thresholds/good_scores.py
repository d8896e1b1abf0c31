"""What thresholds are found from: scores of good images out of sample, and of defects."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.errors import ConfigError

__all__ = ["Caught", "GoodScores"]


def _none() -> NDArray[np.float32]:
    return np.empty(0, np.float32)


@dataclass(frozen=True)
class Caught:
    """Scores of defects, each from a bank that has not seen the good part it lies on.

    Attributes:
        synthetic: ``[s]`` raw image scores of good images with a synthetic defect.
        labelled: ``[d]`` raw image scores of labelled defective images.
    """

    synthetic: NDArray[np.float32] = field(default_factory=_none)
    labelled: NDArray[np.float32] = field(default_factory=_none)


@dataclass(frozen=True)
class GoodScores:
    """Scores of n good images that the memory bank has not seen.

    Attributes:
        scores: ``[n]`` raw image scores.
        maxima: ``[n]`` largest value of each image's raw map.
        names: of the n files; empty where nobody will ask.
        part: ``[n]`` which part an image shows: pictures of one part have one number. Each its own when None.
        batches: of each image (lot, day, camera); empty where they are not known.
        suspects: names of the images that ``train`` found unlike the others.

    Raises:
        ConfigError: there is no image, or a score that is no finite number.
    """

    scores: NDArray[np.float32]
    maxima: NDArray[np.float32]
    names: tuple[str, ...] = ()
    part: NDArray[np.int64] | None = None
    batches: tuple[str, ...] = ()
    suspects: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not len(self.scores) or not np.isfinite(self.scores).all() or not np.isfinite(self.maxima).all():
            raise ConfigError("The calibration images have no finite scores; check the images and the model.")

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def batch_count(self) -> int:
        """How many batches are known; 0 where one at most is: nothing can be said of another from one."""
        count = len(set(self.batches))
        return count if count > 1 else 0

    def per_part(self) -> GoodScores:
        """One image of each part, drawn at random: what the line will see of a new part is one picture, whichever."""
        if self.part is None:
            return self
        drawn = np.random.default_rng(0).permutation(len(self))
        kept = np.sort(drawn[np.unique(self.part[drawn], return_index=True)[1]])
        return GoodScores(
            self.scores[kept],
            self.maxima[kept],
            tuple(self.names[i] for i in kept) if self.names else (),
            None,
            tuple(self.batches[i] for i in kept) if self.batches else (),
            self.suspects,
        )
