"""The gate: the compiled graph must score as float32 torch does, or there is no bundle."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.errors import DataError, ParityError
from patchcore_edge_runtime.inspector import CompiledGraph
from patchcore_edge_runtime.manifest import ParityFacts
from patchcore_edge_runtime.preprocess import Image
from patchcore_edge_runtime.verdict import Thresholds

__all__ = ["SCORE_LIMITS", "compare", "require_parity"]

SCORE_LIMITS = {"fp32": 1e-4, "fp16": 5e-3}
"""Largest relative deviation of an image score from float32 torch (DESIGN section 5)."""


def compare(
    fitted: Patchcore,
    graph: CompiledGraph,
    images: Iterable[Image],
    *,
    batch: int,
    device: str,
    precision: str,
    thresholds: Thresholds,
) -> ParityFacts:
    """Score images both ways.

    Args:
        fitted: float32 torch, on the CPU.
        graph: the compiled model.
        images: HxWx3 uint8 BGR of the model's size.
        batch: the graph's static batch size; each image is scored on its own.
        device: where ``graph`` runs, for the record.
        precision: sets the limit.
        thresholds: what counts as a flipped verdict.

    Raises:
        DataError: there are no images.
    """
    scores, score_deviations, map_deviations, flips = 0, [0.0], [0.0], 0
    for image in images:
        expected = fitted(torch.from_numpy(image)[None])
        score, anomaly_map = graph.infer(np.repeat(image[None], batch, axis=0))
        wanted, wanted_map = float(expected.pred_score[0]), expected.anomaly_map[0].numpy()
        score_deviations.append(_relative(np.abs(score[0] - wanted), wanted))
        map_deviations.append(_relative(np.abs(anomaly_map[0] - wanted_map).max(), float(wanted_map.max())))
        flips += thresholds.judge(float(score[0])) != thresholds.judge(wanted)
        scores += 1
    if not scores:
        raise DataError("There are no images to compare on; give --data.")
    limit, worst = SCORE_LIMITS[precision], float(np.max(score_deviations))
    return ParityFacts(
        device=device,
        images=scores,
        max_score_deviation=worst,
        max_map_deviation=float(np.max(map_deviations)),
        verdict_flips=flips,
        score_limit=limit,
        # Written so that NaN fails.
        passed=worst <= limit and flips == 0,
    )


def require_parity(facts: ParityFacts) -> None:
    """Raise ``ParityError`` when the comparison failed."""
    if not facts.passed:
        raise ParityError(
            f"On {facts.device} the graph deviates from torch by {facts.max_score_deviation:.2e} "
            f"(limit {facts.score_limit:.0e}) and flips {facts.verdict_flips} of {facts.images} verdicts; "
            "use --precision fp32, or calibrate again if the images changed."
        )


def _relative(deviation: float, reference: float) -> float:
    return float(deviation) / max(abs(reference), 1e-12)
