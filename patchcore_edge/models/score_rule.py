"""From an image's patch distances and its map to one number: which rule ranks images depends on the part."""

from __future__ import annotations

from torch import Tensor

from patchcore_edge_runtime.bundle.recipe import ScoreRule

__all__ = ["patches_counted", "ruled_scores"]


def patches_counted(rule: ScoreRule, patches: int) -> int:
    """Of so many patches of an image, how many largest distances make its score; one of them for a maximum."""
    return max(1, round(patches / 100)) if rule is ScoreRule.TOP_K else 1


def ruled_scores(rule: ScoreRule, patch_scores: Tensor, anomaly_map: Tensor, patches: int | None = None) -> Tensor:
    """Scores ``[N]`` by any rule but eq. 7, which needs more than distances.

    Args:
        rule: not ``REFERENCE``.
        patch_scores: ``[N, T]`` distances, the largest of each image among them.
        anomaly_map: ``[N, 1, H, W]`` smoothed.
        patches: of an image; T when None.
    """
    if rule is ScoreRule.MAP_MAX:
        return anomaly_map.amax((1, 2, 3))
    count = patches_counted(rule, patches or patch_scores.shape[1])
    return patch_scores.amax(1) if count == 1 else patch_scores.topk(count, dim=1).values.mean(1)
