"""A line's figures in the text format that Prometheus scrapes (version 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from .status import Snapshot

__all__ = ["CONTENT_TYPE", "prometheus_text"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Sample = tuple[dict[str, str], float]


def prometheus_text(now: Snapshot) -> str:
    """All metrics of a moment; times in seconds, as Prometheus wants them."""
    frames = [({"verdict": str(verdict)}, float(count)) for verdict, count in now.counts.items()]
    quantiles = (("0.5", now.p50_ms), ("0.95", now.p95_ms))
    latency = [({"quantile": name}, value / 1000) for name, value in quantiles if value is not None]
    sinks = [(name, asdict(counts)) for name, counts in now.sinks.items()]
    records = [
        ({"sink": name, "outcome": outcome}, float(counts[outcome]))
        for name, counts in sinks
        for outcome in ("written", "dropped", "failed")
    ]
    waiting = [({"sink": name}, float(counts["waiting"])) for name, counts in sinks]
    parts = [
        _metric("info", "gauge", "The line and its model.", [({"line": now.name, "model_id": now.model_id}, 1.0)]),
        _metric("frames_total", "counter", "Frames inspected, by verdict.", frames),
        _metric("source_dropped_total", "counter", "Frames that nobody inspected.", [({}, float(now.dropped))]),
        _metric("source_state", "gauge", "1 for the state the source is in.", [({"state": now.source}, 1.0)]),
        _metric("frames_per_second", "gauge", "Verdicts per second of late.", [({}, now.fps)]),
        _metric("latency_seconds", "gauge", "From frame to verdict, of late.", latency),
        _metric("idle_seconds", "gauge", "Since the last verdict.", [({}, now.idle_seconds)]),
        _metric("sink_records_total", "counter", "Records per sink: stored, too many, refused.", records),
        _metric("sink_waiting", "gauge", "Records that wait for a sink.", waiting),
    ]
    return "".join(parts)


def _metric(name: str, kind: str, text: str, samples: Iterable[_Sample]) -> str:
    name = f"patchcore_{name}"
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escape(label)}"' for key, label in labels.items())
        lines.append(f"{name}{{{inside}}} {value!r}" if inside else f"{name} {value!r}")
    return "\n".join(lines) + "\n"


def _escape(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
