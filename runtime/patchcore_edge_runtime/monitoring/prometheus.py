"""Lines' figures in the text format that Prometheus scrapes (version 0.0.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from .status import Snapshot

__all__ = ["CONTENT_TYPE", "prometheus_text"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Sample = tuple[dict[str, str], float]
_Samples = Callable[[Snapshot], Iterable[_Sample]]


def prometheus_text(lines: Sequence[Snapshot]) -> str:
    """All metrics of a moment, each with its line as a label; times in seconds, as Prometheus wants them."""
    return "".join(_metric(name, kind, text, samples, lines) for name, kind, text, samples in _METRICS)


def _metric(name: str, kind: str, text: str, samples: _Samples, lines: Sequence[Snapshot]) -> str:
    rows = [f"# HELP patchcore_{name} {text}", f"# TYPE patchcore_{name} {kind}"]
    for now in lines:
        for labels, value in samples(now):
            inside = ",".join(f'{key}="{_escape(label)}"' for key, label in {"line": now.name, **labels}.items())
            rows.append(f"patchcore_{name}{{{inside}}} {value!r}")
    return "\n".join(rows) + "\n"


def _escape(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _frames(now: Snapshot) -> Iterator[_Sample]:
    for verdict, count in now.counts.items():
        yield {"verdict": str(verdict)}, float(count)


def _latency(now: Snapshot) -> Iterator[_Sample]:
    for quantile, value in (("0.5", now.p50_ms), ("0.95", now.p95_ms)):
        if value is not None:
            yield {"quantile": quantile}, value / 1000


def _records(now: Snapshot) -> Iterator[_Sample]:
    for name, sink in now.sinks.items():
        for outcome, count in (("written", sink.written), ("dropped", sink.dropped), ("failed", sink.failed)):
            yield {"sink": name, "outcome": outcome}, float(count)


def _waiting(now: Snapshot) -> Iterator[_Sample]:
    for name, sink in now.sinks.items():
        yield {"sink": name}, float(sink.waiting)


def _failing(now: Snapshot) -> Iterator[_Sample]:
    for name, sink in now.sinks.items():
        yield {"sink": name, "required": str(sink.required).lower()}, float(bool(sink.failing_since))


_METRICS: tuple[tuple[str, str, str, _Samples], ...] = (
    (
        "info",
        "gauge",
        "The line, its model and the manifest that judges.",
        lambda now: [({"model_id": now.model_id, "manifest": now.manifest}, 1.0)],
    ),
    ("frames_total", "counter", "Frames inspected, by verdict.", _frames),
    ("source_dropped_total", "counter", "Frames that nobody inspected.", lambda now: [({}, float(now.dropped))]),
    ("source_state", "gauge", "1 for the state the source is in.", lambda now: [({"state": now.source}, 1.0)]),
    ("frames_per_second", "gauge", "Verdicts per second of late.", lambda now: [({}, now.fps)]),
    ("latency_seconds", "gauge", "From frame to verdict, of late.", _latency),
    ("idle_seconds", "gauge", "Since the last verdict.", lambda now: [({}, now.idle_seconds)]),
    ("swaps_total", "counter", "Times that the line took another bundle.", lambda now: [({}, float(now.swaps))]),
    ("sink_records_total", "counter", "Records per sink: stored, too many, refused.", _records),
    ("sink_waiting", "gauge", "Records that wait for a sink.", _waiting),
    ("sink_failing", "gauge", "1 while a sink refuses, loses or cannot deliver records.", _failing),
)
