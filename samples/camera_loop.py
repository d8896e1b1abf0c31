"""The smallest camera loop: python samples/camera_loop.py BUNDLE [CAMERA_OR_VIDEO] [--headless]; q ends."""

from __future__ import annotations

import argparse

import cv2

from patchcore_edge_runtime import Inspector, draw_overlay

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("bundle")
options.add_argument("source", nargs="?", default="0")
options.add_argument("--headless", action="store_true", help="without a window")
asked = options.parse_args()

inspector = Inspector(asked.bundle, device="CPU")
capture = cv2.VideoCapture(int(asked.source) if asked.source.isdecimal() else asked.source)

while True:
    more, frame = capture.read()  # HxWx3 uint8 BGR
    if not more:
        break
    result = inspector(frame)
    print(result.verdict, f"{result.pred_score:.3f}", f"{result.timings.total_ms:.1f} ms")
    if not asked.headless:
        cv2.imshow("line 1", draw_overlay(frame, result))
        if cv2.waitKey(1) == ord("q"):
            break
