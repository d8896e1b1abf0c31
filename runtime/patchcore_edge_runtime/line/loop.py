"""The inspection loop: a source, an inspector, sinks."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np

from ..inspection.inspector import Inspector
from ..inspection.result import InspectionResult
from ..sinks import Record, Sink
from ..sources import Frame, Source
from ..system import stop_signals
from ..verdict import Verdict
from .debounce import Debounce, DebounceRule
from .hot_swap import BundleSwap

__all__ = ["RunSummary", "inspect_frame", "run_loop"]

# p50 and p95 of the newest frames; a run of a year must not keep a year of numbers.
_LATENCIES_KEPT = 10_000


@dataclass
class RunSummary:
    """What a run amounted to."""

    counts: Counter[Verdict] = field(default_factory=Counter)
    seconds: float = 0.0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))
    dropped: int = 0
    swaps: int = 0

    @property
    def frames(self) -> int:
        """Frames inspected, ERROR included."""
        return sum(self.counts.values())

    def add(self, result: InspectionResult) -> None:
        """Count one result."""
        self.counts[result.verdict] += 1
        if result.verdict is not Verdict.ERROR:
            self.latencies_ms.append(result.timings.total_ms)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; latencies in milliseconds from frame to verdict, None without frames."""
        p50, p95 = np.percentile(list(self.latencies_ms), [50, 95]) if self.latencies_ms else (None, None)
        return {
            "frames": self.frames,
            "verdicts": {str(verdict): self.counts[verdict] for verdict in Verdict},
            "dropped": self.dropped,
            "swaps": self.swaps,
            "seconds": round(self.seconds, 3),
            "fps": round(self.frames / self.seconds, 2) if self.seconds else 0.0,
            "latency_ms_p50": None if p50 is None else round(float(p50), 3),
            "latency_ms_p95": None if p95 is None else round(float(p95), 3),
        }


def inspect_frame(inspector: Inspector, frame: Frame) -> Record:
    """Inspect one frame of a source; a frame without an image is an ERROR."""
    if frame.image is None:
        return Record(frame, inspector.error_result(frame.error, frame_id=frame.index, time=frame.time))
    return Record(frame, inspector(frame.image, frame_id=frame.index, time=frame.time))


def run_loop(
    source: Source,
    inspector: Inspector,
    sinks: Sequence[Sink],
    *,
    show: Callable[[Record], bool] | None = None,
    debounce: DebounceRule | None = None,
    swap: BundleSwap | None = None,
) -> RunSummary:
    """Inspect every frame of a source and hand each record to every sink.

    Ctrl-C and SIGTERM (Windows: Ctrl-Break) end the loop after the frame in hand; the sinks are then closed as at any
    other end.

    Args:
        source: closed at the end, however it comes.
        inspector: what judges.
        sinks: closed at the end, however it comes.
        show: called with each record; the loop stops when it returns False.
        debounce: makes verdicts of parts from verdicts of frames; each frame is a part when absent.
        swap: asked for another inspector between two frames; closed at the end.

    Returns:
        counts, speed and latencies.

    Raises:
        SourceError: a file gives no frames.
        ConfigError: a sink's place refused.
    """
    summary = RunSummary()
    rule = Debounce(debounce) if debounce is not None else None
    start = perf_counter()
    with stop_signals(source.stop), ExitStack() as stack:
        stack.callback(_stop_clock, summary, start)
        for sink in sinks:
            stack.callback(sink.close)
        if swap is not None:
            stack.callback(swap.close)
        stack.callback(_close_source, source, summary)
        for frame in source:
            if swap is not None and (newer := swap.take()) is not None:
                inspector = newer
                summary.swaps += 1
            record = _debounced(inspect_frame(inspector, frame), rule)
            summary.add(record.result)
            for sink in sinks:
                sink.write(record)
            if show is not None and not show(record):
                break
    return summary


def _debounced(record: Record, rule: Debounce | None) -> Record:
    if rule is None:
        return record
    own = record.result.verdict
    verdict = rule.add(own, record.frame.part)
    if verdict is own:
        return record
    reason = record.result.reason or (
        f"A frame of this part could not be judged; this one alone is {own}." if verdict is Verdict.ERROR else ""
    )
    return replace(record, result=replace(record.result, verdict=verdict, frame_verdict=own, reason=reason))


def _close_source(source: Source, summary: RunSummary) -> None:
    summary.dropped = source.status()[1]
    source.close()


def _stop_clock(summary: RunSummary, start: float) -> None:
    summary.seconds = perf_counter() - start
