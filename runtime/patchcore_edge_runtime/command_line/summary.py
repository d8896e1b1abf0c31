"""What a command says at its end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..monitoring.status import Snapshot

__all__ = ["print_summary", "say_unfinished"]


def say_unfinished() -> None:
    """That somebody stopped a pass: its counts are not those of all images."""
    typer.echo("Stopped before the end: what has no line here was not inspected.", err=True)


def print_summary(now: Snapshot, as_json: bool, *, several: bool = False) -> None:
    """Frames by verdict, pace, and which sinks lost records; of several lines each with its name."""
    facts = now.summary()
    if several:
        facts = {"line": now.name, **facts}
        if not as_json:
            typer.echo(f"{now.name}:")
    if as_json:
        typer.echo(json.dumps(facts))
        return
    counts = "  ".join(f"{verdict} {count}" for verdict, count in facts["verdicts"].items())
    typer.echo(f"{facts['frames']} frames in {facts['seconds']:.1f} s: {counts}")
    if facts["latency_ms_p50"] is not None:
        latency = f"latency p50 {facts['latency_ms_p50']} ms, p95 {facts['latency_ms_p95']} ms"
        typer.echo(f"{facts['fps']} fps, {facts['dropped']} dropped, {latency}")
    for name, sink in now.sinks.items():
        if sink.dropped or sink.failed:
            typer.echo(f"sink {name}: {sink.dropped} dropped, {sink.failed} refused ({sink.error})")
