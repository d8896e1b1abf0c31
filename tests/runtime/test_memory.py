"""What the runtime costs before it does anything, and while it works."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch
from conftest import part
from safetensors.torch import load_file, save_file

from patchcore_edge_runtime.system import resident_memory

if TYPE_CHECKING:
    from patchcore_edge.jobs.train import TrainOptions

MIB = 1 << 20
HEAVY = (
    "torch",
    "matplotlib",
    "scipy",
    "sklearn",
    "PIL",
    "pandas",
    "typer",
    "starlette",
    "uvicorn",
    "paho",
    "pymodbus",
)

IMPORT = """
import json, sys, time
start = time.perf_counter()
import patchcore_edge_runtime
seconds = time.perf_counter() - start
from patchcore_edge_runtime.system import resident_memory
print(json.dumps({"seconds": seconds, "bytes": resident_memory(), "modules": sorted(sys.modules)}))
"""

LOOP = """
import sys
from pathlib import Path
from patchcore_edge_runtime.cli import app
app(sys.argv[1:], standalone_mode=False)
peak = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print("peak", int(peak[0].split()[1]) * 1024)
"""


def python(code: str, *words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False, timeout=1800
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_is_light() -> None:
    facts = json.loads(python(IMPORT))
    print(f"import: {facts['seconds']:.2f} s, {facts['bytes'] / MIB:.0f} MiB, {len(facts['modules'])} modules")
    assert facts["bytes"] < 150 * MIB
    assert [name for name in HEAVY if name in facts["modules"]] == []


def test_resident_memory_grows_with_what_is_held() -> None:
    before = resident_memory()
    held = np.ones(64 * MIB, np.uint8)
    assert resident_memory() - before > 32 * MIB
    assert held.any()


@pytest.fixture(scope="module")
def line_size_bundle(tiny_options: TrainOptions, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """ResNet-18 at 256 px with a bank of 16,384 x 384, and a folder of frames at 640x640."""
    from patchcore_edge.jobs.calibrate import calibrate_run
    from patchcore_edge.jobs.train import train_run
    from patchcore_edge_export.build import GraphOptions
    from patchcore_edge_export.bundle import export_bundle

    root = tmp_path_factory.mktemp("line")
    rng = np.random.default_rng(3)
    for folder, count in (("train/good", 4), ("validation/good", 6), ("frames", 12)):
        (root / "data" / folder).mkdir(parents=True)
        for number in range(count):
            cv2.imwrite(str(root / "data" / folder / f"{number}.png"), part(rng, size=640))
    options = replace(tiny_options, coreset_sampling_ratio=0.01, image_size=(256, 256))
    run = root / "run"
    train_run(root / "data", run, options)
    # A bank of full size without the time to pick it.
    tensors = load_file(run / "model.safetensors")
    bank = tensors["memory_bank"]
    noise = torch.randn(16384, bank.shape[1], generator=torch.Generator().manual_seed(0)) * bank.std() * 0.05
    tensors["memory_bank"] = bank[torch.arange(16384) % len(bank)] + noise
    save_file(tensors, run / "model.safetensors")
    calibrate_run(run, root / "data", 0.2, "cpu")
    export_bundle(run, root / "bundle", GraphOptions())
    return root / "bundle", root / "data" / "frames"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of resident memory is read from /proc")
def test_the_whole_loop_at_line_size_stays_under_450_mib(line_size_bundle: tuple[Path, Path], tmp_path: Path) -> None:
    bundle, frames = line_size_bundle
    words = (
        "run",
        "-m",
        bundle,
        "-s",
        frames,
        "--results",
        tmp_path / "r.jsonl",
        "--save-ng",
        tmp_path / "ng",
        "--json",
    )
    summary, peak = python(LOOP, *words).splitlines()
    print(f"whole loop: peak {int(peak.split()[1]) / MIB:.0f} MiB; {summary}")
    assert json.loads(summary)["verdicts"]["ERROR"] == 0
    assert int(peak.split()[1]) < 450 * MIB
