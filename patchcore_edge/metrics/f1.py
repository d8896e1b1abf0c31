"""F1: the harmonic mean of precision and recall."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_f1", "f1_of"]


def best_f1(
    labels: NDArray[np.bool_], values: NDArray[np.float32], counts: NDArray[np.int64] | None = None
) -> tuple[float, float]:
    """The threshold of the highest F1, midway between the values it parts, and that F1.

    Args:
        labels: ``[n]`` True for defective; both kinds are needed.
        values: ``[n]`` raw scores; above the threshold means defective.
        counts: ``[n]`` how often each value came; once when absent.
    """
    # Imported where it is used: it takes a second, and a fit does without.
    from sklearn.metrics import precision_recall_curve

    precision, recall, cuts = precision_recall_curve(labels, values, sample_weight=counts)
    scores = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    # scikit-learn calls values at the cut defective; ours have to be above it. The last point has no cut.
    best = int(scores[:-1].argmax())
    below = values[values < cuts[best]]
    lower = float(below.max()) if len(below) else 0.0
    return (lower + float(cuts[best])) / 2, float(scores[best])


def f1_of(labels: NDArray[np.bool_], flagged: NDArray[np.bool_]) -> float:
    """F1 of what was called defective; both ``[n]``, with at least one defective."""
    return float(2 * (labels & flagged).sum() / (labels.sum() + flagged.sum()))
