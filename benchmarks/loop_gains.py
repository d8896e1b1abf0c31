"""Steps of a frame's way as they were first written and as they are, with the same result, in one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime import Inspector
from patchcore_edge_runtime.images.preprocess import Image, preprocess
from patchcore_edge_runtime.inspection.regions import find_regions
from patchcore_edge_runtime.inspection.result import InspectionResult
from patchcore_edge_runtime.sinks import Record
from patchcore_edge_runtime.sources import Frame

REPEATS = 21

HEAD = """
## What was gained

The steps at 3840x2160 as they were first written and as they are, in turns; medians of {repeats} in ms, smallest and
largest in brackets. Both give the same pixels, scores or regions, which is checked first.

| step | before | now | times faster |
|---|---|---|---|
"""

_Call = Callable[[], Any]


def gains(inspector: Inspector, frames: list[Image]) -> str:
    """The table; ``frames`` are HxWx3."""
    grey = [np.ascontiguousarray(frame[..., 0]) for frame in frames]
    deep = [frame.astype(np.uint16) * 257 for frame in grey]
    opaque = [np.dstack([frame, np.full_like(frame[..., 0], 255)]) for frame in frames[:2]]
    spec = inspector.manifest.preprocess
    lines = []
    for name, pictures in (("BGR", frames), ("grey", grey), ("grey, 16 bit", deep), ("BGRA", opaque)):
        before = [partial(_first_preprocess, p, spec.input_size) for p in pictures]
        now = [partial(preprocess, p, spec) for p in pictures]
        lines.append(_line(f"preprocess, {name}", before, now, np.array_equal))
    lines.append(_after_a_product(inspector, frames))
    results = [inspector(frame) for frame in frames]
    defective = max(results, key=lambda result: result.pred_score)
    records = [Record(Frame(0, "camera", frames[0], 0.0), defective)]
    first = [partial(_first_regions, r.result) for r in records]
    again = [partial(_regions, r.result) for r in records]
    lines.append(_line("regions of a defective part", first, again, _same_regions))
    # What is left of it before the line turns to the next frame.
    queued = [partial(_queued, r) for r in records]
    name = "… of which the inspecting thread does"
    lines.append(_line(name, first, queued, lambda old, new: _same_regions(old, new.regions)))
    return HEAD.format(repeats=REPEATS) + "\n".join(lines) + "\n"


def _after_a_product(inspector: Inspector, frames: list[Image]) -> str:
    """A product as the check of a frame needs one, and inference after it: BLAS's threads go on spinning meanwhile."""
    rows = np.random.default_rng(0).standard_normal((256, 16)).astype(np.float32)
    columns = np.ascontiguousarray(rows.T)

    def blas(frame: Image) -> tuple[NDArray[Any], float]:
        return rows @ columns, inspector(frame).pred_score

    def own(frame: Image) -> tuple[NDArray[Any], float]:
        return np.einsum("ki,kj->ij", columns, columns), inspector(frame).pred_score

    before = [partial(blas, p) for p in frames]
    now = [partial(own, p) for p in frames]
    name = "a product of the frame's check by BLAS, or by `einsum`; then preprocessing, check and inference"
    return _line(name, before, now, lambda old, new: np.allclose(old[0], new[0], atol=1e-4) and old[1] == new[1])


def _line(name: str, before: Sequence[_Call], now: Sequence[_Call], same: Callable[[Any, Any], bool]) -> str:
    for old, new in zip(before, now, strict=True):
        if not same(old(), new()):
            raise RuntimeError(f"{name}: the two ways differ")
    taken: tuple[list[float], list[float]] = ([], [])
    for repeat in range(REPEATS):
        for calls, times in zip((before, now), taken, strict=True):
            start = perf_counter()
            calls[repeat % len(calls)]()
            times.append((perf_counter() - start) * 1e3)
    cells = [f"{np.median(times):.2f} ({min(times):.2f}–{max(times):.2f})" for times in taken]
    return f"| {name} | {cells[0]} | {cells[1]} | {np.median(taken[0]) / np.median(taken[1]):.1f} |"


def _first_preprocess(frame: NDArray[Any], size: tuple[int, int]) -> Image:
    if frame.dtype == np.uint16:
        frame = ((frame.astype(np.uint32) + 128) // 257).astype(np.uint8)
    image = cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR) if frame.ndim == 2 else frame[:, :, :3]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _first_regions(result: InspectionResult) -> Any:
    full = np.zeros(result.frame_size, np.float32)
    assert result.model_map is not None
    full[:] = cv2.resize(result.model_map, result.frame_size[::-1], interpolation=cv2.INTER_LINEAR)
    return find_regions(full, np.asarray(full > result.thresholds.pixel, np.bool_))


def _regions(result: InspectionResult) -> Any:
    return replace(result).regions  # not those that the result has found before


def _queued(record: Record) -> InspectionResult:
    return Record(record.frame, record.result).without_image.result


def _same_regions(first: Any, second: Any) -> bool:
    return [(r.box, r.area, r.peak) for r in first] == [(r.box, r.area, r.peak) for r in second]
