"""From raw scores to answers: thresholds and what follows from them."""

from __future__ import annotations

from patchcore_edge_runtime.verdict import Thresholds

from ..data import Batch
from ..metrics.scores import Scores
from ..thresholds import calibrate_on_scores

__all__ = ["PostProcessor"]


class PostProcessor:
    """Labels images and pixels as the line will: above the threshold is defective.

    Args:
        thresholds: in the unit of the raw scores; None until ``calibrate``.
        target_fpr: share of good parts that ``calibrate`` lets be called defective, in (0, 1). When None, the highest
            F1 decides where defects are labelled, and up to 5 % are the share where none are.
    """

    def __init__(self, thresholds: Thresholds | None = None, target_fpr: float | None = None) -> None:
        self.thresholds = thresholds
        self.target_fpr = target_fpr

    def calibrate(self, scores: Scores, data: str) -> None:
        """Set the thresholds from labelled images that the model has not been fitted on.

        Raises:
            ConfigError: there is no good image, or the scores are unusable.
        """
        self.thresholds, _ = calibrate_on_scores(scores, self.target_fpr, data)

    def __call__(self, batch: Batch) -> Batch:
        """The scored batch with ``pred_label`` and ``pred_mask``; as it came while there are no thresholds."""
        if self.thresholds is None or batch.pred_score is None or batch.anomaly_map is None:
            return batch
        return batch._replace(
            pred_label=batch.pred_score > self.thresholds.image,
            pred_mask=batch.anomaly_map[:, 0] > self.thresholds.pixel,
            thresholds=self.thresholds,
        )
