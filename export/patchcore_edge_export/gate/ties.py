"""Scores that torch itself might have given: where patches tie, rounding decides which of them is the worst.

Eq. 7 weighs the worst patch by its own neighbourhood, so an image's score jumps from one tied patch to the other; by
1.5 % was seen. A graph that takes the other patch is as right as torch.
"""

from __future__ import annotations

import torch

from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.bundle.recipe import ScoreRule
from patchcore_edge_runtime.images.preprocess import Image

__all__ = ["tied_scores"]

_MOST = 8


@torch.inference_mode()
def tied_scores(fitted: Patchcore, image: Image, share: float) -> list[float]:
    """The image's score by each of the patches that tie with the worst one; none for rules that do not jump.

    Args:
        fitted: float32, on the CPU.
        image: HxWx3 uint8 BGR of the model's size.
        share: of the worst patch's distance, within which another one ties.
    """
    model = fitted.model
    if model.score is not ScoreRule.REFERENCE:
        return []
    embedding = model.embed(fitted.pre_processor(torch.from_numpy(image)[None]))
    rows = model.project(model.reshape_embedding(embedding))
    distances, locations = (one.flatten() for one in model.nearest_neighbors(rows, 1))
    distances = model.counted(distances)
    values, places = distances.topk(min(_MOST, len(distances)))
    scores = []
    for place in places[values >= values[0] * (1 - share)]:
        alone = torch.zeros_like(distances).index_fill_(0, place, float(distances[place]))
        scores.append(float(model.compute_anomaly_score(alone[None], locations[None], rows)[0]))
    return scores
