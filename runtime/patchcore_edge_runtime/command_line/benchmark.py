"""``benchmark``."""

from __future__ import annotations

import json
from enum import StrEnum
from functools import partial
from typing import Annotated

import typer

from .options import (
    BundleOption,
    CacheOption,
    DeviceOption,
    JsonOption,
    PrecisionOption,
    ThreadsOption,
    asked_precision,
)

__all__ = ["benchmark"]


class HintChoice(StrEnum):
    """What a device is tuned for."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"


def benchmark(
    model: BundleOption,
    device: DeviceOption = "CPU",
    hint: Annotated[
        HintChoice | None,
        typer.Option(
            help="What the device is tuned for: one frame at a time, or many. Default: both, one after the other."
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", "-s", help="Pictures to use. Default: the bundle's golden images.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=86400, help="How long to measure for each hint.")] = 5.0,
    inference_num_threads: ThreadsOption = None,
    inference_precision: PrecisionOption = None,
    cache_dir: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure latency per stage, throughput and memory on varied pictures, for both of OpenVINO's hints."""
    from ..benchmark import benchmark as measure
    from ..benchmark import describe

    hints = [hint] if hint is not None else list(HintChoice)
    measure_one = partial(
        measure,
        source=source,
        cache_dir=cache_dir,
        inference_num_threads=inference_num_threads,
        inference_precision=asked_precision(inference_precision),
    )
    found = [measure_one(model, device, one.value, seconds=seconds) for one in hints]
    typer.echo(json.dumps(found) if as_json else "\n\n".join(describe(facts) for facts in found))
