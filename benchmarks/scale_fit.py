"""Fit many images and report time and peak memory: python -m benchmarks.scale_fit --images 10000 --coreset-size 10000

The images are made: real ones, turned, shifted and with other light and noise, as JPEG, in a scratch folder. The fit is
the command line's own `train`, in a process of its own whose resident memory is polled (pages of mapped files
included). Only the numbers of features matter here, not what they show.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import psutil
import torch

import patchcore_edge
import patchcore_edge_runtime
from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.images.files import image_files, read_image
from samples.demo.cells import cell_files

from .compare import save_network

SIZE = 256
POLL_SECONDS = 0.1
ORIGINALS = 300
GIB = 2**30
MEMORY_LIMIT = "2GB"
"""What the benchmarks allow for features in memory; more goes to disk."""


@dataclass(frozen=True)
class Watched:
    """What a fit took.

    Attributes:
        peak_bytes: largest resident memory that was seen.
        disk: what the plan said of it, for people.
        said: what the command printed.
    """

    seconds: float
    peak_bytes: int
    disk: str
    said: str


def main() -> None:
    """Make the images, fit them, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000, help="how many to fit")
    parser.add_argument("--source", type=Path, help="folder of real images to make them from; else solar cells")
    parser.add_argument("--weights", type=Path, help="ResNet-18 weights, as `train --weights` takes them; else random")
    parser.add_argument("--coreset-size", type=int, default=10_000, help="patches to keep")
    parser.add_argument("--memory-limit", default=None, help="as `train --memory-limit`")
    parser.add_argument("--scratch", type=Path, default=None, help="where images, features and run go, and are deleted")
    given = parser.parse_args()
    found = fit_many(given.images, given.source, given.weights, given.coreset_size, given.memory_limit, given.scratch)
    print(f"{found.said}\n{found.seconds:.0f} s, peak {found.peak_bytes / GIB:.2f} GiB")


def fit_many(
    count: int,
    source: Path | None,
    weights: Path | None,
    coreset_size: int,
    memory_limit: str | None,
    parent: Path | None,
) -> Watched:
    """Make ``count`` images and fit ResNet-18 on them with ``patchcore-edge train``.

    The same fit by the same code on the same machine is measured once and kept in ``parent``.
    """
    facts = (count, str(source), str(weights), coreset_size, memory_limit, platform.node(), _code())
    kept = None if parent is None else parent / f"fit_{hashlib.sha256(repr(facts).encode()).hexdigest()[:12]}.json"
    if kept is not None and kept.is_file():
        return Watched(**json.loads(kept.read_text(encoding="utf-8")))
    found = _fit_many(count, source, weights, coreset_size, memory_limit, parent)
    if kept is not None:
        kept.write_text(json.dumps(asdict(found)), encoding="utf-8")
    return found


def _code() -> str:
    """Digest of what a fit is made of."""
    digest = hashlib.sha256()
    for package in (patchcore_edge, patchcore_edge_runtime):
        for file in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _fit_many(
    count: int,
    source: Path | None,
    weights: Path | None,
    coreset_size: int,
    memory_limit: str | None,
    parent: Path | None,
) -> Watched:
    with TemporaryDirectory(dir=parent) as scratch:
        images = Path(scratch) / "good"
        make_images(source, images, count)
        words = ["train", images, "-o", Path(scratch) / "run", "--backbone", "resnet18", "--layers", "layer2,layer3"]
        words += ["--image-size", SIZE, "--weights", weights or _random_weights(Path(scratch) / "w.safetensors")]
        words += ["--coreset-size", coreset_size]
        if memory_limit is not None:
            words += ["--memory-limit", memory_limit]
        return watched([str(word) for word in words])


def _random_weights(file: Path) -> Path:
    torch.manual_seed(0)
    return save_network(Patchcore("resnet18", ("layer2", "layer3"), pre_trained=False), file)


def make_images(source: Path | None, folder: Path, count: int) -> None:
    """Write ``count`` images of SIZE x SIZE pixels, each a real one changed at random (seed 0)."""
    folder.mkdir(exist_ok=True)
    paths = cell_files()[0][:ORIGINALS] if source is None else image_files(source)
    originals = [cv2.resize(read_image(path), (SIZE, SIZE)) for path in paths]
    rng = np.random.default_rng(0)
    for index in range(count):
        image = originals[index % len(originals)]
        turn = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), float(rng.uniform(-5, 5)), float(rng.uniform(0.95, 1.05)))
        turn[:, 2] = turn[:, 2] + rng.uniform(-8, 8, 2)
        moved = cv2.warpAffine(image, turn, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT)
        light = moved * rng.uniform(0.9, 1.1) + rng.normal(0, 3, moved.shape)
        cv2.imwrite(str(folder / f"{index:05d}.jpg"), np.clip(light, 0, 255).astype(np.uint8))


def watched(words: list[str]) -> Watched:
    """Run ``patchcore-edge`` with these words; its time, peak resident memory and what it said."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "patchcore_edge", *words], stdout=subprocess.PIPE, text=True)
    peak, seen = 0, psutil.Process(process.pid)
    while process.poll() is None:
        try:
            peak = max(peak, seen.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(POLL_SECONDS)
    said = process.communicate()[0]
    if process.returncode:
        raise SystemExit(process.returncode)
    disk = re.search(r"and (\S+ \S+) of disk", said)
    return Watched(time.perf_counter() - start, peak, disk[1] if disk else "none", said.strip())


if __name__ == "__main__":
    main()
