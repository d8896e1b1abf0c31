"""Fixtures: a small synthetic line whose model is fitted and exported once, and the real images where there are any."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import cv2
import numpy as np
import pytest
import timm
import torch
from hypothesis import HealthCheck, settings
from safetensors.torch import save_file

from patchcore_edge_runtime import Inspector

if TYPE_CHECKING:
    from patchcore_edge.jobs.train import TrainOptions

# A machine that has other work is slow, and no test of ours fails by that.
settings.register_profile(
    "patchcore-edge",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("patchcore-edge")

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"
TINY_BACKBONE = "resnet18"
TINY_SIZE = 64


def part(rng: np.random.Generator, defect: bool = False, size: int = 80) -> np.ndarray:
    """A grey disc on a striped belt, jittered; a defective one has a bright scratch."""
    image = np.tile(np.uint8([70, 80, 90, 80]).repeat(4), (size, size // 16 + 1))[:, :size].copy()
    x, y = (int(v) for v in size // 2 + rng.integers(-2, 3, 2))
    cv2.circle(image, (x, y), size // 3, int(150 + rng.integers(-5, 6)), -1, cv2.LINE_AA)
    if defect:
        angle = rng.uniform(0, np.pi)
        reach = np.array([np.cos(angle), np.sin(angle)]) * size / 5
        ends = [tuple(int(v) for v in np.array([x, y]) + sign * reach) for sign in (-1, 1)]
        cv2.line(image, ends[0], ends[1], 255, 3, cv2.LINE_AA)
    noisy = image + rng.normal(0, 3, image.shape)
    return cv2.cvtColor(np.clip(noisy, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset in the MVTec layout, with masks, made on the spot."""
    root = tmp_path_factory.mktemp("data") / "discs"
    rng = np.random.default_rng(0)
    for folder, count, defect in (
        ("train/good", 12, False),
        ("validation/good", 10, False),
        ("test/good", 6, False),
        ("test/scratch", 6, True),
    ):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            image = part(rng, defect)
            cv2.imwrite(str(root / folder / f"{index:03d}.png"), image)
            if defect:
                mask = (image[..., 0] > 200).astype(np.uint8) * 255
                (root / "ground_truth/scratch").mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(root / "ground_truth/scratch" / f"{index:03d}_mask.png"), mask)
    return root


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeded random weights of the tiny backbone: no download, and enough to tell a scratch from a disc."""
    torch.manual_seed(0)
    network = timm.create_model(TINY_BACKBONE, features_only=True, out_indices=(2, 3))
    path = tmp_path_factory.mktemp("weights") / f"{TINY_BACKBONE}.safetensors"
    save_file(network.state_dict(), path)
    return path


def transformer_weights(backbone: str, path: Path) -> Path:
    """Random weights of a whole transformer, for the images that it was trained with.

    As timm draws them, its blocks would add next to nothing. Here each layer keeps the variance of what it is given,
    and what a block adds is a third of it: patches look at each other and still show what they are.
    """
    torch.manual_seed(0)
    network = timm.create_model(backbone, pretrained=False)
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            share = 0.3 if name.endswith(("attn.proj", "mlp.fc2")) else 1.0
            torch.nn.init.normal_(module.weight, std=share * module.weight[0].numel() ** -0.5)
        if isinstance(getattr(module, "gamma", None), torch.nn.Parameter):
            torch.nn.init.ones_(module.gamma)
    save_file(network.state_dict(), path)
    return path


def run_cli(*words: object, program: str = "patchcore_edge") -> subprocess.CompletedProcess[str]:
    """Run a command line up to its exit code, in this process: importing torch for each would take most of the time."""
    main = importlib.import_module(f"{program}.cli").main
    command = [program, *(str(word) for word in words)]
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", command):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def spawn_cli(*words: object, program: str = "patchcore_edge") -> subprocess.CompletedProcess[str]:
    """Run a command line as a user does, in a process of its own."""
    command = [sys.executable, "-m", program, *(str(word) for word in words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def tiny_options(tiny_weights: Path) -> TrainOptions:
    """How ``tiny_run`` is fitted; ``dataclasses.replace`` makes others of it."""
    from patchcore_edge.jobs.train import TrainOptions

    return TrainOptions(
        backbone=TINY_BACKBONE,
        layers=("layer2", "layer3"),
        coreset_sampling_ratio=0.25,
        num_neighbors=9,
        image_size=(TINY_SIZE, TINY_SIZE),
        weights=str(tiny_weights),
        seed=0,
        device="cpu",
    )


@pytest.fixture(scope="session")
def tiny_run(tiny_data: Path, tiny_options: TrainOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fitted and calibrated RUN folder; not to be changed."""
    from patchcore_edge.jobs.calibrate import calibrate_run
    from patchcore_edge.jobs.train import train_run

    run = tmp_path_factory.mktemp("run") / "discs"
    train_run(tiny_data, run, tiny_options)
    calibrate_run(run, tiny_data, 0.1, "cpu")
    return run


@pytest.fixture(scope="session")
def tiny_bundle(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle exported from ``tiny_run``, for float32 alone, as on every CPU; not to be changed."""
    from patchcore_edge_export.build import GraphOptions
    from patchcore_edge_export.bundle import export_bundle

    bundle = tmp_path_factory.mktemp("bundle") / "discs"
    export_bundle(tiny_run, bundle, GraphOptions(lower=False))
    return bundle


@pytest.fixture(scope="session")
def int8_bundle(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The INT8 bundle exported from ``tiny_run``; not to be changed."""
    from patchcore_edge_export.build import GraphOptions
    from patchcore_edge_export.bundle import export_bundle

    bundle = tmp_path_factory.mktemp("int8") / "discs"
    export_bundle(tiny_run, bundle, GraphOptions(precision="int8", lower=False))
    return bundle


@pytest.fixture(scope="session")
def elpv_folder() -> Path:
    """The folder of the package ``elpv-dataset`` that holds ``labels.csv`` and ``images``."""
    package = pytest.importorskip("elpv_dataset", reason="needs the package elpv-dataset: pip install '.[demo]'")
    return Path(package.__file__).parent / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real images and weights that lie beside the checkout and are not part of it."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the shared images and weights beside the checkout (../shared), which are not here")
    return SHARED


@pytest.fixture(scope="session")
def tiny_inspector(tiny_bundle: Path) -> Inspector:
    """An inspector of ``tiny_bundle`` on the CPU."""
    return Inspector(tiny_bundle)


def good_part(seed: int = 0, size: int = 80) -> np.ndarray:
    """A good disc that nobody trained on."""
    return part(np.random.default_rng(1000 + seed), size=size)


def bad_part(seed: int = 0, size: int = 80) -> np.ndarray:
    """A scratched disc."""
    return part(np.random.default_rng(1000 + seed), defect=True, size=size)
