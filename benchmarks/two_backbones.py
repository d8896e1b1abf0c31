"""Prints what the averaged maps of two backbones are worth: python -m benchmarks.two_backbones --shared DIR.

Each backbone's map is divided by its mean over good images that its bank has not seen, so that neither outvotes the
other; the score is the maximum of their mean. Beside both alone, and beside one of them with twice its pixels, which
costs about as much as the pair.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from patchcore_edge.data import DataModule, ImageItem
from patchcore_edge.engine import Engine
from patchcore_edge.metrics.pixel_histogram import PixelHistogram
from patchcore_edge.models.weights import DEFAULT_BACKBONE, DEFAULT_LAYERS

from .works import Work, all_works

AUPRO_LIMIT = 0.3
HELD_OUT = 10
"""Every so many-th training image is left out of the bank and sets the scale."""
SHARED_RESNET = "resnet18_tv_in1k_to_layer3.safetensors"


def maps_of(work: Work) -> NDArray[np.float32]:
    """``[n, H, W]`` of the test images, divided by what unseen good images have on average."""
    held, rest = work.data.train[::HELD_OUT], [x for i, x in enumerate(work.data.train) if i % HELD_OUT]
    model, engine = work.model(), Engine("cpu", progress=False)
    engine.fit(model, DataModule(work.data.root, rest, test=work.data.test))

    def maps(items: list[ImageItem]) -> NDArray[np.float32]:
        dataset = DataModule.dataset(items, model.pre_processor.spec)
        found = []
        for place in range(len(dataset)):
            with torch.inference_mode():
                found.append(model(torch.from_numpy(dataset.image(place))[None]).anomaly_map[0, 0].numpy())
        return np.stack(found)

    scale = maps(held).mean()
    return np.asarray(maps(work.data.test) / scale, np.float32)


def figures(work: Work, maps: NDArray[np.float32]) -> str:
    """Image AUROC by the maps' maxima; AUPRO where there are masks."""
    labels = [item.is_defective for item in work.data.test]
    text = f"image AUROC {roc_auc_score(labels, maps.max((1, 2))):.4f}"
    dataset = DataModule.dataset(work.data.test, work.model().pre_processor.spec)
    masks = [dataset.mask(place) for place in range(len(labels))]
    known = [mask for mask in masks if mask is not None]
    if len(known) < len(masks):
        return text
    pixels = PixelHistogram()
    for one, mask in zip(maps, known, strict=True):
        pixels.add(np.ascontiguousarray(one), mask)
    return f"{text}, AUPRO {pixels.aupro(AUPRO_LIMIT):.4f}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="folder with data/magnetic_tile and weights/")
    parser.add_argument("--only", default="", help="part of the name of the works to measure")
    options = parser.parse_args()
    resnet = options.shared / "weights" / SHARED_RESNET
    for work in all_works(options.shared):
        if work.ratio != 0.01 or options.only not in work.name:
            continue
        small = replace(work, backbone=DEFAULT_BACKBONE, layers=DEFAULT_LAYERS, weights=None)
        large = replace(work, backbone="resnet18", layers=("layer2", "layer3"), weights=resnet)
        one, other = maps_of(small), maps_of(large)
        print(f"{work.name}, {work.size} px: Lite0: {figures(small, one)}", flush=True)
        print(f"{work.name}, {work.size} px: ResNet-18: {figures(large, other)}", flush=True)
        print(f"{work.name}, {work.size} px: both averaged: {figures(large, np.mean([one, other], 0))}", flush=True)
        more = replace(large, size=round(large.size * 2**0.5 / 32) * 32)
        print(f"{work.name}, {more.size} px: ResNet-18: {figures(more, maps_of(more))}", flush=True)


if __name__ == "__main__":
    main()
