"""Records as a line makes them, without a bundle and without inference."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable
from time import monotonic

import cv2
import numpy as np
import pytest

from patchcore_edge_runtime.images.preprocess import PreprocessSpec
from patchcore_edge_runtime.inspection.result import InspectionResult, Timings
from patchcore_edge_runtime.sinks import Record
from patchcore_edge_runtime.sources import Frame
from patchcore_edge_runtime.verdict import Thresholds, Verdict

THRESHOLDS = Thresholds(image=3.0, pixel=2.5, warn=2.6)
SCORES = {Verdict.OK: 1.5, Verdict.WARN: 2.8, Verdict.NG: 4.2, Verdict.ERROR: float("nan")}
MODEL = 64


def make_frame(width: int = 640, height: int = 480, defect: bool = False) -> np.ndarray:
    """A grey disc, with a bright scratch when defective."""
    image = np.full((height, width, 3), 70, np.uint8)
    cv2.circle(image, (width // 2, height // 2), height // 3, (150, 150, 150), -1, cv2.LINE_AA)
    if defect:
        cv2.line(image, (width // 2, height // 2), (width * 5 // 8, height * 9 // 16), (255, 255, 255), 3)
    return image


def make_record(
    verdict: Verdict = Verdict.OK,
    index: int = 0,
    size: tuple[int, int] = (640, 480),
    moment: float | None = None,
    part: str = "",
    trigger: int = 0,
    age: float = 0.0,
) -> Record:
    """A record of that verdict, ``age`` seconds old; of NG and WARN the map has a hot spot, ERROR has no picture."""
    width, height = size
    failed = verdict is Verdict.ERROR
    model_map = np.full((MODEL, MODEL), 1.0, np.float32)
    if verdict in (Verdict.WARN, Verdict.NG):
        cv2.circle(model_map, (36, 34), 5, SCORES[verdict], -1)
    result = InspectionResult(
        verdict=verdict,
        reason="The camera gave no picture for 2 s." if failed else "",
        pred_score=SCORES[verdict],
        thresholds=THRESHOLDS,
        frame_size=(0, 0) if failed else (height, width),
        roi=(0, 0, 0, 0) if failed else (0, 0, width, height),
        timings=Timings() if failed else Timings(1.0, 20.0 + index % 10),
        model_id="discs@0123456789ab",
        manifest="0123abcd",
        preprocess=PreprocessSpec(height=MODEL, width=MODEL),
        model_map=None if failed else model_map,
    )
    image = None if failed else make_frame(width, height, verdict is Verdict.NG)
    moment = time.time() if moment is None else moment
    frame = Frame(index, f"camera 0#{index}", image, moment, part=part, trigger=trigger, moment=monotonic() - age)
    return Record(frame, result)


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Fail when ``condition`` has not come true after ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def program(*names: str) -> str:
    """The path of the first of ``names`` that is installed; skips the test, naming them, when none is."""
    for name in names:
        # Debian keeps daemons where a user's PATH does not look.
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
        if path:
            return path
    pytest.skip(f"needs the program {names[0]}, which is not installed")
