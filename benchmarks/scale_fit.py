"""Fit many images and report time and peak memory: python -m benchmarks.scale_fit --images 10000 --coreset-size 10000

The images are made: real ones, turned, shifted and with other light and noise, as JPEG, in a scratch folder. The fit is
the command line's own `train`, in a process of its own whose resident memory is polled (pages of mapped files
included). Only the numbers of features matter here, not what they show.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import psutil

from patchcore_edge_runtime.sources import image_files, read_image

SIZE = 256
POLL_SECONDS = 0.1


def main() -> None:
    """Make the images, fit them, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000, help="how many to fit")
    parser.add_argument("--source", type=Path, required=True, help="folder of real images to make them from")
    parser.add_argument("--weights", required=True, help="ResNet-18 weights, as `train --weights` takes them")
    parser.add_argument("--coreset-size", type=int, default=10_000, help="patches to keep")
    parser.add_argument("--memory-limit", default=None, help="as `train --memory-limit`")
    parser.add_argument("--scratch", type=Path, default=None, help="where images, features and run go, and are deleted")
    given = parser.parse_args()
    with TemporaryDirectory(dir=given.scratch) as scratch:
        images = Path(scratch) / "good"
        make_images(given.source, images, given.images)
        words = ["train", images, "-o", Path(scratch) / "run", "--backbone", "resnet18", "--layers", "layer2,layer3"]
        words += ["--image-size", SIZE, "--weights", given.weights, "--coreset-size", given.coreset_size]
        if given.memory_limit is not None:
            words += ["--memory-limit", given.memory_limit]
        print(json.dumps(watched([str(word) for word in words])))


def make_images(source: Path, folder: Path, count: int) -> None:
    """Write ``count`` images of SIZE x SIZE pixels, each a real one changed at random (seed 0)."""
    folder.mkdir()
    originals = [cv2.resize(read_image(path), (SIZE, SIZE)) for path in image_files(source)]
    rng = np.random.default_rng(0)
    for index in range(count):
        image = originals[index % len(originals)]
        turn = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), float(rng.uniform(-5, 5)), float(rng.uniform(0.95, 1.05)))
        turn[:, 2] += rng.uniform(-8, 8, 2)
        moved = cv2.warpAffine(image, turn, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT)
        light = moved * rng.uniform(0.9, 1.1) + rng.normal(0, 3, moved.shape)
        cv2.imwrite(str(folder / f"{index:05d}.jpg"), np.clip(light, 0, 255).astype(np.uint8))


def watched(words: list[str]) -> dict[str, object]:
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
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "peak_gib": round(peak / 2**30, 2),
        "disk": disk[1] if disk else None,
        "said": said.splitlines(),
    }


if __name__ == "__main__":
    main()
