"""The smallest camera loop: python samples/camera_loop.py BUNDLE [CAMERA_OR_VIDEO] [--headless]; q ends."""

from __future__ import annotations

import sys

import cv2

from patchcore_edge_runtime import Inspector, draw_overlay

words = [word for word in sys.argv[1:] if word != "--headless"]
source = words[1] if len(words) > 1 else "0"
inspector = Inspector(words[0], device="CPU")
capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)

while True:
    more, frame = capture.read()  # HxWx3 uint8 BGR
    if not more:
        break
    result = inspector(frame)
    print(result.verdict, f"{result.pred_score:.3f}", f"{result.timings.total_ms:.1f} ms")
    if "--headless" not in sys.argv:
        cv2.imshow("line 1", draw_overlay(frame, result))
        if cv2.waitKey(1) == ord("q"):
            break
