"""What a line is doing right now, for the window, the status page and the metrics."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from ..bundle.bundle import Bundle
from ..bundle.lower_precision import InferencePrecision
from ..inspection.result import InspectionResult
from ..verdict import Thresholds, Verdict
from .calibration import calibration_facts

__all__ = ["LineStatus", "Outcome", "SinkCondition", "SinkFigures", "Snapshot"]

Outcome = Literal["written", "dropped", "failed"]
"""Of a record that was handed to a sink: stored, lost because the sink was too slow, lost because it refused."""

# Figures of the newest frames: what the line does now, not what it did last week.
_WINDOW = 300


@dataclass(frozen=True)
class SinkFigures:
    """Records of one sink since the start: stored, lost because it was too slow, lost because it refused.

    Attributes:
        waiting: length of its queue.
        error: why it refused last; empty while all is well.
        failing_since: ISO 8601, UTC; empty while all is well.
        required: without it the line is not healthy.
    """

    written: int = 0
    dropped: int = 0
    failed: int = 0
    waiting: int = 0
    error: str = ""
    failing_since: str = ""
    required: bool = False


SinkCondition = Callable[[], tuple[int, str, str]]
"""How many records wait for a sink, why it refused last, and since when it fails (ISO 8601, UTC); empty while well."""


@dataclass(frozen=True)
class Snapshot:
    """The figures of one moment.

    Attributes:
        counts: frames per verdict since the start.
        dropped: frames that the source had and nobody inspected.
        fps: verdicts per second over the newest frames.
        p50_ms, p95_ms: latency of the newest frames in milliseconds; None before the first.
        source: what the source says of itself, such as ``running`` or ``reconnecting``.
        idle_seconds: since the last verdict, or since the start.
        uptime_seconds: since the start, up to the end of a line that has ended.
        swaps: times that the line took another bundle.
        manifest: digest of the manifest that judges now.
        inference_precision: what its graph is computed in.
    """

    name: str
    model_id: str
    manifest: str
    counts: dict[Verdict, int]
    dropped: int
    fps: float
    p50_ms: float | None
    p95_ms: float | None
    source: str
    idle_seconds: float
    uptime_seconds: float
    sinks: dict[str, SinkFigures] = field(default_factory=dict)
    swaps: int = 0
    inference_precision: InferencePrecision = "f32"

    @property
    def frames(self) -> int:
        """Frames inspected, ERROR included."""
        return sum(self.counts.values())

    def summary(self) -> dict[str, Any]:
        """What a run amounted to, as plain JSON values: frames per second over the whole run, the newest latencies."""
        seconds = self.uptime_seconds
        return {
            "frames": self.frames,
            "verdicts": {str(verdict): count for verdict, count in self.counts.items()},
            "dropped": self.dropped,
            "swaps": self.swaps,
            "seconds": seconds,
            "fps": round(self.frames / seconds, 2) if seconds else 0.0,
            "latency_ms_p50": self.p50_ms,
            "latency_ms_p95": self.p95_ms,
            **({"sinks": {name: asdict(figures) for name, figures in self.sinks.items()}} if self.sinks else {}),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "counts": {str(verdict): count for verdict, count in self.counts.items()}}


class LineStatus:
    """All that is counted of a line: verdicts, latencies, drops, and the records of its sinks.

    The line's thread and those of the sinks count; any thread may read.

    Args:
        name: of the line, as people call it.
        model_id: of the bundle that judges; may be set anew after a hot swap.
        source: returns the source's state and its dropped frames.
        clock: seconds that never go back.

    Attributes:
        calibration: what ``calibration_facts`` says of the bundle that judges; set anew with ``model_id``.
        manifest: digest of that bundle's manifest.
        inference_precision: what its graph is computed in.
        swaps: times that another bundle was taken.
    """

    def __init__(
        self,
        name: str = "line",
        model_id: str = "",
        source: Callable[[], tuple[str, int]] = lambda: ("running", 0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.model_id = model_id
        self.manifest = ""
        self.inference_precision: InferencePrecision = "f32"
        self.calibration: dict[str, Any] | None = None
        self.source = source
        self.swaps = 0
        self._clock = clock
        self._start = clock()
        self._end: float | None = None
        self._lock = threading.Lock()
        self._counts: Counter[Verdict] = Counter()
        self._times: deque[float] = deque(maxlen=_WINDOW)
        self._latencies: deque[float] = deque(maxlen=_WINDOW)
        self._records: dict[str, Counter[Outcome]] = {}
        self._conditions: dict[str, tuple[SinkCondition, bool]] = {}

    def add(self, result: InspectionResult) -> None:
        """Count one result."""
        with self._lock:
            self._counts[result.verdict] += 1
            self._times.append(self._clock())
            if result.verdict is not Verdict.ERROR:
                self._latencies.append(result.timings.total_ms)

    def judged_by(self, bundle: Bundle, thresholds: Thresholds, precision: InferencePrecision = "f32") -> None:
        """Say which bundle judges from now on, by which limits, and what its graph is computed in."""
        self.inference_precision = precision
        self.model_id, self.manifest = bundle.manifest.model_id, bundle.digest
        self.calibration = calibration_facts(bundle.manifest, thresholds)

    def start(self) -> None:
        """The line begins now: what came before was getting ready."""
        self._start, self._end = self._clock(), None

    def finish(self) -> None:
        """The line has ended: time stands still, and the source, which may be closed, is not asked any more."""
        self._end = self._clock()
        last = self.source()
        self.source = lambda: last

    def add_sink(self, name: str, condition: SinkCondition, *, required: bool = False) -> None:
        """Count a sink's records from now on."""
        with self._lock:
            self._records[name] = Counter()
            self._conditions[name] = (condition, required)

    def count_record(self, sink: str, outcome: Outcome, number: int = 1) -> int:
        """Count records of a sink; returns how many had that outcome so far."""
        with self._lock:
            self._records[sink][outcome] += number
            return self._records[sink][outcome]

    def sink(self, name: str) -> SinkFigures:
        """The figures of one sink."""
        # Asked without our lock: the sink may hold its own while it counts.
        condition, required = self._conditions[name]
        waiting, error, since = condition()
        with self._lock:
            counts = dict(self._records[name])
        return SinkFigures(**counts, waiting=waiting, error=error, failing_since=since, required=required)

    def snapshot(self) -> Snapshot:
        """The figures of this moment."""
        with self._lock:
            now, counts = self._clock() if self._end is None else self._end, dict(self._counts)
            times, latencies, sinks = list(self._times), list(self._latencies), list(self._records)
        p50, p95 = np.percentile(latencies, [50, 95]) if latencies else (None, None)
        state, dropped = self.source()
        return Snapshot(
            name=self.name,
            model_id=self.model_id,
            manifest=self.manifest,
            counts={verdict: counts.get(verdict, 0) for verdict in Verdict},
            dropped=dropped,
            # Up to now and not up to the last frame: a line that stands still goes down to zero.
            fps=round(len(times) / (now - times[0]), 2) if len(times) > 1 and now > times[0] else 0.0,
            p50_ms=None if p50 is None else round(float(p50), 2),
            p95_ms=None if p95 is None else round(float(p95), 2),
            source=state,
            idle_seconds=round(now - (times[-1] if times else self._start), 3),
            uptime_seconds=round(now - self._start, 3),
            sinks={name: self.sink(name) for name in sinks},
            swaps=self.swaps,
            inference_precision=self.inference_precision,
        )
