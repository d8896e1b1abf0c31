"""How fast a bundle is on a device, stage by stage, on pictures that differ from one another."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .bundle.bundle import Bundle
from .bundle.lower_precision import AskedPrecision
from .errors import SourceError
from .images.preprocess import Image, PreprocessSpec
from .inspection.inspector import Inspector
from .inspection.opened_backend import open_backend
from .inspection.openvino_backend import Hint
from .inspection.result import InspectionResult
from .sources import open_source
from .system import resident_memory
from .verdict import Verdict

__all__ = ["benchmark", "describe", "golden_frames"]

_STAGES = ("preprocess_ms", "sanity_ms", "inference_ms", "judge_ms", "total_ms")
_FRAMES_HELD = 32
_NOISE = 2.0


def benchmark(
    bundle: Path,
    device: str,
    hint: Hint,
    *,
    seconds: float = 5.0,
    source: str | None = None,
    cache_dir: Path | None = None,
    inference_num_threads: int | None = None,
    inference_precision: AskedPrecision = "auto",
) -> dict[str, Any]:
    """Inspect frames for a while.

    Args:
        bundle: folder that ``patchcore-edge export`` wrote.
        device: as OpenVINO names it.
        hint: ``latency`` has one frame in flight, ``throughput`` as many as the device asks for, each in a thread.
        seconds: to measure; as long again, a tenth of it at most, is spent on getting warm.
        source: pictures to use, as ``-s`` takes them; the first 32. Noisy variants of the golden images when absent.
        cache_dir: where OpenVINO may keep the compiled model.
        inference_num_threads: for the CPU only, as ``OpenVINOBackend`` takes it.
        inference_precision: as ``Inspector`` takes it.

    Returns:
        plain JSON values: milliseconds per stage (p50, p95, p99), frames per second, bytes of memory.

    Raises:
        SourceError: the source gives no picture.
    """
    before = resident_memory()
    start = perf_counter()
    loaded = Bundle.load(bundle)
    backend, _ = open_backend(loaded, device, hint, cache_dir, inference_num_threads, None, inference_precision)
    more = backend.optimal_requests - 1 if hint == "throughput" else 0
    inspectors = [
        Inspector(loaded, device, backend=one) for one in (backend, *(backend.sibling() for _ in range(more)))
    ]
    startup = perf_counter() - start
    frames = _source_frames(source) if source is not None else golden_frames(loaded)
    _inspect(inspectors, frames, seconds / 10)
    start = perf_counter()
    results = _inspect(inspectors, frames, seconds)
    elapsed = perf_counter() - start
    height, width = frames[0].shape[:2]
    return {
        "model_id": loaded.manifest.model_id,
        "device": device.upper(),
        "hint": hint,
        "inference_precision": backend.inference_precision,
        "requests": len(inspectors),
        "frame": [width, height],
        "frames": len(results),
        "errors": sum(result.verdict is Verdict.ERROR for result in results),
        "fps": round(len(results) / elapsed, 2),
        "startup_seconds": round(startup, 3),
        "memory_bytes": resident_memory(),
        "memory_bytes_before": before,
        "stages": {stage: _percentiles([getattr(result.timings, stage) for result in results]) for stage in _STAGES},
        "frame_map_ms": _percentiles([_frame_map_ms(result) for result in results[:100]]),
    }


def golden_frames(bundle: Bundle) -> list[Image]:
    """The golden images with a little noise, each time another one, at the size of the frames the limits come from."""
    random = np.random.default_rng(0)
    golden = [bundle.golden_image(image) for image in bundle.manifest.golden]
    limits = bundle.manifest.sanity
    frames = []
    for picture in islice(cycle(golden), _FRAMES_HELD):
        image = picture
        if limits is not None and bundle.manifest.preprocess.crop_height is None:
            # The limits are twice the largest good frame; enlarged without smoothing, so that it stays sharp.
            size = (max(8, limits.max_width // 2), max(8, limits.max_height // 2))
            image = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)
        frame = _around(image, bundle.manifest.preprocess)
        # Behind all that enlarges: a sensor's noise is another in each pixel.
        frames.append(np.clip(frame + random.normal(0, _NOISE, frame.shape), 0, 255).astype(np.uint8))
    return frames


def _around(region: Image, spec: PreprocessSpec) -> Image:
    """A frame whose region of interest shows the picture; the picture itself without one."""
    if spec.roi is None:
        return region
    x, y, width, height = spec.roi
    frame = np.zeros((*(spec.frame_size or (y + height, x + width)), 3), np.uint8)
    frame[y : y + height, x : x + width] = cv2.resize(region, (width, height), interpolation=cv2.INTER_NEAREST)
    return frame


def _source_frames(text: str) -> list[NDArray[Any]]:
    source = open_source(text)
    try:
        found = [frame.image for frame in islice(source, _FRAMES_HELD) if frame.image is not None]
    finally:
        source.close()
    if not found:
        raise SourceError(f"{text} gave no picture; check it, or leave -s out to use the bundle's own images.")
    return found


def _inspect(inspectors: list[Inspector], frames: list[NDArray[Any]], seconds: float) -> list[InspectionResult]:
    """Each inspector in a thread of its own, one frame after the other, beginning at different ones."""

    def run(number: int) -> list[InspectionResult]:
        results = []
        for frame in islice(cycle(frames), number, None):
            results.append(inspectors[number](frame))
            if time.monotonic() >= end:
                break
        return results

    end = time.monotonic() + seconds
    with ThreadPoolExecutor(len(inspectors)) as threads:
        return [result for results in threads.map(run, range(len(inspectors))) for result in results]


def _frame_map_ms(result: InspectionResult) -> float:
    start = perf_counter()
    _ = result.pred_mask
    return (perf_counter() - start) * 1e3


def _percentiles(values: list[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3), "p99": round(float(p99), 3)}


def describe(facts: dict[str, Any]) -> str:
    """What ``benchmark`` found, as lines of text."""
    width, height = facts["frame"]
    lines = [
        f"{facts['model_id']} on {facts['device']} in {facts['inference_precision']}, hint {facts['hint']}, "
        f"{facts['requests']} in flight, frames of {width}x{height}",
        f"{facts['fps']} frames/s over {facts['frames']} frames ({facts['errors']} ERROR), "
        f"start {facts['startup_seconds']} s, memory {facts['memory_bytes'] / 2**20:.0f} MiB",
        f"{'ms':>14}{'p50':>10}{'p95':>10}{'p99':>10}",
    ]
    for name, found in {**facts["stages"], "frame_map_ms": facts["frame_map_ms"]}.items():
        stage = name.removesuffix("_ms").replace("_", " ")
        lines.append(f"{stage:>14}{found['p50']:>10.2f}{found['p95']:>10.2f}{found['p99']:>10.2f}")
    return "\n".join(lines)
