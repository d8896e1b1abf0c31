"""Feature extraction on this CPU, torch against OpenVINO: python -m benchmarks.features [--weights RESNET18]

Both embed the same real images with the same weights; prints milliseconds per image (median of the repeats), their
ratio, and the largest deviation of a patch. Decoding is left out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from patchcore_edge.fit.embedder import Embedder, deviation
from patchcore_edge.models import Patchcore
from patchcore_edge.models.weights import DEFAULT_BACKBONE, DEFAULT_LAYERS

from .material import cells

IMAGES = 48
BATCH = 16
REPEATS = 3


def main() -> None:
    """Print a line per backbone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="ResNet-18's; without them only the default backbone is measured")
    given = parser.parse_args()
    compare(DEFAULT_BACKBONE, DEFAULT_LAYERS, 224, None)
    if given.weights is not None:
        compare("resnet18", ("layer2", "layer3"), 256, given.weights)


def compare(backbone: str, layers: tuple[str, ...], size: int, weights: Path | None) -> None:
    """Time both on the same frames and print a line."""
    model = Patchcore(
        backbone, layers, pre_processor=Patchcore.configure_pre_processor((size, size)), weights=weights
    ).eval()
    model.model.feature_extractor.to(memory_format=torch.channels_last)
    dataset = cells(IMAGES, size)
    frames = torch.from_numpy(np.stack([dataset.image(index) for index in range(len(dataset))]))
    embedders = {"torch": Embedder(model, 0), "openvino": Embedder(model, len(frames))}
    rows = {name: torch.cat([embed(part) for part in torch.split(frames, BATCH)]) for name, embed in embedders.items()}
    times = {name: statistics.median(timed(embed, frames) for _ in range(REPEATS)) for name, embed in embedders.items()}
    used = embedders["openvino"].backend
    print(
        f"{backbone} at {size} px: torch {times['torch']:.1f} ms, {used} {times['openvino']:.1f} ms an image, "
        f"{times['torch'] / times['openvino']:.1f}x; deviation {deviation(rows['openvino'], rows['torch']):.1e}"
    )


def timed(embed: Embedder, frames: torch.Tensor) -> float:
    """Milliseconds per image."""
    start = time.perf_counter()
    for part in torch.split(frames, BATCH):
        embed(part)
    return 1000 * (time.perf_counter() - start) / len(frames)


if __name__ == "__main__":
    main()
