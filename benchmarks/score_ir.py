"""Scores frames with an IR, in a process that imports nothing else: python -m benchmarks.score_ir XML FRAMES OUT."""

from __future__ import annotations

import sys

import numpy as np
import openvino as ov


def main(xml: str, frames: str, out: str) -> None:
    """Write ``scores`` ``[n]`` and ``maps`` ``[n,H,W]`` of the frames ``[n,H,W,3]`` to ``out``."""
    compiled = ov.Core().compile_model(xml, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answers = [compiled(frame[None]) for frame in np.load(frames)]
    scores = np.array([float(answer["pred_score"][0]) for answer in answers])
    np.savez(out, scores=scores, maps=np.stack([answer["anomaly_map"][0, 0] for answer in answers]))


if __name__ == "__main__":
    main(*sys.argv[1:])
