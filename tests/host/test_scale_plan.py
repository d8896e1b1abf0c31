"""The plan for many images and processes: its bytes are those that processes exchange and write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import REPOSITORY, part

pytest.importorskip("elpv_dataset", reason="the benchmarks need the package elpv-dataset: pip install '.[demo]'")

from benchmarks.scale_plan import IMAGES, PARTS, RANKS, Fit, Machine, limits, measured, plan_rows
from benchmarks.scale_run import Parts

MACHINE = Machine(0.02, 1.5e11, 2e-4, 2e-8, 0.1)


def test_what_two_processes_exchange_and_write_is_what_the_model_says(tmp_path: Path) -> None:
    rng, folder, file = np.random.default_rng(0), tmp_path / "good", tmp_path / "found.json"
    folder.mkdir()
    for number in range(17):
        cv2.imwrite(str(folder / f"{number:02d}.png"), part(rng, size=256))
    words = ["--standalone", "--nproc-per-node", "2", "-m", "benchmarks.scale_run", folder, "-o", file, "--bank", "600"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "torch.distributed.run", *map(str, words)]
    subprocess.run(command, check=True, env=environment, cwd=REPOSITORY, timeout=300)
    found = Parts(**json.loads(file.read_text()))
    fit = Fit(found.images, found.ranks, found.bank, found.patches, found.dimensions)
    assert fit.candidates == found.candidates
    said = fit.exchanged(measured(found, 1e9, 1e9))
    for name in ("selection", "copies", "outliers"):
        assert found.exchanged[name] == pytest.approx(said[name], rel=0.3), name
    # Of 17 images one process has nine.
    assert found.disk == fit.plan.store_bytes(2) == 9 * fit.row_bytes


def test_more_processes_take_less_time_memory_and_disk_and_more_images_more() -> None:
    for images in IMAGES:
        fits = [Fit(images, ranks, 20_000) for ranks in RANKS]
        for values in (
            [sum(fit.seconds(MACHINE).values()) for fit in fits],
            [fit.plan.memory_bytes(in_memory=False) for fit in fits],
            [fit.plan.store_bytes(2) for fit in fits],
        ):
            assert values == sorted(values, reverse=True)
    times = [sum(Fit(images, 4, 20_000).seconds(MACHINE).values()) for images in IMAGES]
    assert times == sorted(times)


def test_what_a_pick_costs_the_network_does_not_depend_on_images_or_processes() -> None:
    found = {Fit(images, ranks, 20_000).bytes_per_pick(MACHINE) for images in IMAGES for ranks in RANKS[1:]}
    assert max(found) < 1.1 * min(found)
    assert Fit(1000, 1, 20_000).bytes_per_pick(MACHINE) == 0


def test_the_plan_says_where_the_network_the_disk_or_another_part_becomes_the_limit() -> None:
    slow = replace(MACHINE, network=1e4)
    assert len(plan_rows(MACHINE, 20_000)) == 2 + len(IMAGES) * len(RANKS)
    assert "copies from about" in limits(MACHINE, 20_000)[0]
    share = [
        float(line.rpartition("network ")[2].partition("%")[0])
        for line in (limits(m, 20_000)[-1] for m in (MACHINE, slow))
    ]
    assert share[0] < 1 < 50 < share[1]
    assert set(Fit(1000, 4, 100).seconds(MACHINE)) == set(PARTS)
