"""What drawing costs: ``python -m samples.overlay_speed`` prints milliseconds per frame, by size and verdict.

The parts are drawn, not photographed; how long it takes depends on sizes and not on what is to be seen.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import cv2
import numpy as np

from patchcore_edge_runtime import InspectionResult, PreprocessSpec, Thresholds, Timings, Verdict
from patchcore_edge_runtime.display.overlay import draw_overlay
from patchcore_edge_runtime.monitoring.status import LineStatus

SIZES = ((640, 480), (1920, 1080), (3840, 2160))
ROUNDS = 15
CELLS = 256


def result_of(verdict: Verdict, size: tuple[int, int]) -> InspectionResult:
    """A good part, or one with a defect of a tenth of its width."""
    model_map = np.ones((CELLS, CELLS), np.float32)
    if verdict is Verdict.NG:
        cv2.circle(model_map, (150, 130), CELLS // 20, 4.0, -1)
    return InspectionResult(
        verdict=verdict,
        reason="",
        pred_score=float(model_map.max()),
        thresholds=Thresholds(image=2.0, pixel=2.0),
        frame_size=size[::-1],
        roi=(0, 0, *size),
        timings=Timings(),
        model_id="drawn",
        preprocess=PreprocessSpec(height=CELLS, width=CELLS),
        model_map=model_map,
    )


def milliseconds(verdict: Verdict, size: tuple[int, int]) -> float:
    """Median time to draw a frame whose regions nobody has asked for before."""
    frame = np.full((size[1], size[0], 3), 90, np.uint8)
    found, now = result_of(verdict, size), LineStatus().snapshot()
    times = []
    for _ in range(ROUNDS):
        fresh = replace(found)
        start = time.perf_counter()
        draw_overlay(frame, fresh, hud=now)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("| frame | OK | NG |\n|---|---|---|")
    for size in SIZES:
        good, bad = (milliseconds(verdict, size) for verdict in (Verdict.OK, Verdict.NG))
        print(f"| {size[0]}x{size[1]} | {good:.1f} ms | {bad:.1f} ms |")


if __name__ == "__main__":
    main()
