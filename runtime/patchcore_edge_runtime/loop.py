"""The inspection loop: a source, an inspector, sinks."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from .inspector import Inspector
from .result import InspectionResult
from .sinks import Record, Sink
from .sources import Frame, Source
from .verdict import Verdict

__all__ = ["RunSummary", "inspect_frame", "run_loop"]

# p50 and p95 of the newest frames; a run of a year must not keep a year of numbers.
_LATENCIES_KEPT = 10_000


@dataclass
class RunSummary:
    """What a run amounted to."""

    counts: Counter[Verdict] = field(default_factory=Counter)
    seconds: float = 0.0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))

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
        """Plain JSON values; latencies in milliseconds from frame to score and map, None without frames."""
        p50, p95 = np.percentile(list(self.latencies_ms), [50, 95]) if self.latencies_ms else (None, None)
        return {
            "frames": self.frames,
            "verdicts": {str(verdict): self.counts[verdict] for verdict in Verdict},
            "seconds": round(self.seconds, 3),
            "fps": round(self.frames / self.seconds, 2) if self.seconds else 0.0,
            "latency_ms_p50": None if p50 is None else round(float(p50), 3),
            "latency_ms_p95": None if p95 is None else round(float(p95), 3),
        }


def inspect_frame(inspector: Inspector, frame: Frame) -> Record:
    """Inspect one frame of a source; a frame without an image is an ERROR."""
    result = inspector.error(frame.error) if frame.image is None else inspector(frame.image)
    return Record(frame, result)


def run_loop(
    source: Source,
    inspector: Inspector,
    sinks: Sequence[Sink],
    *,
    show: Callable[[Record], bool] | None = None,
) -> RunSummary:
    """Inspect every frame of a source and hand each record to every sink.

    Args:
        source: closed at the end, however it comes.
        inspector: what judges.
        sinks: closed at the end, however it comes.
        show: called with each record; the loop stops when it returns False.

    Returns:
        counts, speed and latencies. Ctrl-C ends the loop after the frame in hand and returns them too.

    Raises:
        SourceError: the source was lost.
        ConfigError: a sink's place refused.
    """
    summary = RunSummary()
    start = perf_counter()
    try:
        for frame in source:
            record = inspect_frame(inspector, frame)
            summary.add(record.result)
            for sink in sinks:
                sink.write(record)
            if show is not None and not show(record):
                break
    except KeyboardInterrupt:
        pass
    finally:
        source.close()
        for sink in sinks:
            sink.close()
        summary.seconds = perf_counter() - start
    return summary
