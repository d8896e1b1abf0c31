"""What a frame costs, before a model is fitted for good."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patchcore_edge.plugins import load_meter
from patchcore_edge.runs.checkpoint import load_run, train_samples
from patchcore_edge_runtime.errors import DeviceError


def test_a_graph_is_timed_in_each_precision(tiny_run: Path) -> None:
    model, _ = load_run(tiny_run)
    found = load_meter()(model, train_samples(tiny_run), "CPU")
    assert {"fp32", "int8"} <= set(found)
    assert all(np.isfinite(figures).all() and min(figures) > 0 for figures in found.values())
    # A byte for each weight of most of the network, in place of four.
    assert found["int8"][1] < 0.6 * found["fp32"][1]


def test_a_device_that_is_not_there_is_named(tiny_run: Path) -> None:
    model, _ = load_run(tiny_run)
    with pytest.raises(DeviceError, match="NPU7"):
        load_meter()(model, train_samples(tiny_run), "NPU7")
