"""Cameras of a fixed rate, in as many processes or in one, and when their frames are judged."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

from patchcore_edge_runtime import Bundle, Inspector
from patchcore_edge_runtime.benchmark import golden_frames
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.inspection.shared_models import SharedModels

__all__ = ["FPS", "Found", "Place", "cameras"]

FPS = 30.0
_START_SECONDS = 0.2


@dataclass(frozen=True)
class Place:
    """Where frames are scored: on a server, in each camera's process, or in one for all cameras."""

    bundle: str
    server: str | None = None
    threads: int | None = None
    together: bool = False

    def inspectors(self, count: int) -> list[Inspector]:
        """For so many cameras of one process."""
        if not self.together:
            return [
                Inspector(self.bundle, server=self.server, inference_num_threads=self.threads) for _ in range(count)
            ]
        bundle, models = Bundle.load(self.bundle), SharedModels(count)
        return [Inspector(bundle, models=models) for _ in range(count)]


@dataclass(frozen=True)
class Found:
    """Latencies of the judged frames in ms, and which share of all frames those are: of the camera with the fewest."""

    latencies: list[float]
    judged: float


def cameras(place: Place, count: int, seconds: float) -> Found:
    """Cameras at the same time, each judging the newest frame as a line does."""
    context = multiprocessing.get_context("spawn")
    processes, each = (1, count) if place.together else (count, 1)
    start = context.Barrier(processes)
    with context.Pool(processes, _be_told, (start,)) as pool:
        found = pool.starmap(_run, [(place, each, seconds)] * processes, chunksize=1)
    latencies = [camera for process in found for camera in process]
    return Found([value for camera in latencies for value in camera], min(map(len, latencies)) / (seconds * FPS))


_START: Any = None


def _be_told(start: Barrier) -> None:
    global _START  # noqa: PLW0603 - what a pool's process is given
    _START = start


def _run(place: Place, count: int, seconds: float) -> list[list[float]]:
    inspectors = place.inspectors(count)
    frames = golden_frames(Bundle.load(place.bundle))
    for inspector in inspectors:
        inspector(frames[0])
    _START.wait(300)
    begin = time.monotonic() + _START_SECONDS
    with ThreadPoolExecutor(count) as threads:
        found = threads.map(lambda inspector: _camera(inspector, frames, begin, seconds), inspectors)
        return list(found)


def _camera(inspector: Inspector, frames: Sequence[Image], begin: float, seconds: float) -> list[float]:
    latencies: list[float] = []
    number = 0
    while number < seconds * FPS:
        due = begin + number / FPS
        time.sleep(max(0.0, due - time.monotonic()))
        result = inspector(frames[number % len(frames)])
        now = time.monotonic()
        if result.verdict != "ERROR":
            latencies.append((now - due) * 1e3)
        # A frame that came meanwhile is passed over where a newer one is there.
        number = max(number + 1, int((now - begin) * FPS))
    return latencies
