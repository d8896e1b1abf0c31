"""Writes ``docs/few-images.md``: python -m benchmarks.few_images [--shared DIR] [--only NAME].

What augmentations of the bank do for 5 to 50 good images. The banks are of one size for each number of images, so the
line is as fast with them as without. Features of the test images are extracted once for each work.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from patchcore_edge.data import DataModule, ImageItem
from patchcore_edge.data.evenly_spaced import evenly_chosen
from patchcore_edge.engine import Engine
from patchcore_edge.fit.embedder import Embedder
from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.bundle.recipe import Augmentation, AugmentOptions
from patchcore_edge_runtime.images.preprocess import Image

from .pages import write_page
from .works import Work, all_works

IMAGES = (5, 10, 20, 50)
SEEDS = (0, 1, 2)
TESTED = 60
"""Good ones and defective ones each."""
RATIO = 0.1
"""Of the images' own patches."""
_AT_A_TIME = 10

LIGHT = (Augmentation.BRIGHTNESS, Augmentation.CONTRAST)
PLACE = (Augmentation.SHIFT, Augmentation.TURN)
AUGMENTS: dict[str, AugmentOptions | None] = {
    "off": None,
    "brightness, contrast": AugmentOptions(kinds=LIGHT),
    "shift, turn": AugmentOptions(kinds=PLACE),
    "those four": AugmentOptions(kinds=(*LIGHT, *PLACE)),
    "flip-h, flip-v": AugmentOptions(kinds=(Augmentation.FLIP_H, Augmentation.FLIP_V)),
    "all six": AugmentOptions(kinds=tuple(Augmentation)),
    "all six, 9 copies": AugmentOptions(kinds=tuple(Augmentation), copies=9),
}

HEAD = f"""# Few images

Written by `python -m benchmarks.few_images --shared ../shared`.

- `train --augment KINDS`: image AUROC (eq. 7) of banks from few good images, mean and standard deviation of
  {len(SEEDS)} draws of the images; {TESTED} good and {TESTED} defective test images.
- Three copies of each image where no number is given.
- All banks of a number of images are of one size, {RATIO:.0%} of the images' own patches (`--coreset-size`).
- *Dimmed*: the good test images with 10 % less light, the defective ones as they are: what a threshold of yesterday
  meets today. *Moved*: the good ones shifted by 2 % of the side to the right and down and turned by 2 degrees.
"""
_COLUMNS = "| good images | augmentations | as they are | dimmed | moved |"


def dimmed(image: Image) -> Image:
    """With 10 % less light."""
    return np.asarray(np.rint(image * 0.9), np.uint8)


def moved(image: Image) -> Image:
    """Shifted and turned, with what is beyond the border mirrored."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 2.0, 1.0)
    matrix[:, 2] += 0.02 * width, 0.02 * height
    return np.asarray(
        cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101, flags=cv2.INTER_LANCZOS4),
        np.uint8,
    )


CHANGES: tuple[Callable[[Image], Image], ...] = (np.asarray, dimmed, moved)


@dataclass(frozen=True)
class Tests:
    """``[n, P, D]`` features: of the good test images under each of ``CHANGES``, and of the defective ones."""

    good: tuple[Tensor, ...]
    defective: Tensor


def tests_of(work: Work, model: Patchcore) -> Tests:
    def features(items: Sequence[ImageItem], change: Callable[[Image], Image]) -> Tensor:
        dataset = DataModule.dataset(items, model.pre_processor.spec)
        embed = Embedder(model, len(items))
        rows = [embed(torch.from_numpy(change(dataset.image(place)))[None]) for place in range(len(items))]
        return torch.stack(rows)

    good = evenly_chosen([item for item in work.data.test if not item.is_defective], TESTED)
    defective = evenly_chosen([item for item in work.data.test if item.is_defective], TESTED)
    return Tests(tuple(features(good, change) for change in CHANGES), features(defective, np.asarray))


def aurocs(work: Work, model: Patchcore, tests: Tests, count: int, seed: int) -> list[float]:
    """Of a bank from ``count`` of the training images, for each of ``CHANGES``."""
    chosen = np.random.default_rng(seed).permutation(len(work.data.train))[:count]
    dataset = DataModule.dataset([work.data.train[place] for place in chosen], model.pre_processor.spec)
    patches = int(np.prod(model.model.patch_grid(dataset.spec.input_size)))
    model.seed = seed
    with Engine("cpu", progress=False).features(model, dataset, augment=True) as store:
        model.fit(store.pool(), size=int(RATIO * count * patches))
    defective = _scores(model, tests.defective)
    found = []
    for good in tests.good:
        scores = [*_scores(model, good), *defective]
        found.append(float(roc_auc_score([0] * len(good) + [1] * len(defective), scores)))
    return found


@torch.inference_mode()
def _scores(model: Patchcore, features: Tensor) -> list[float]:
    """By eq. 7, without the maps, which take most of the time."""
    found: list[float] = []
    for some in torch.split(features, _AT_A_TIME):
        rows = some.flatten(0, 1)
        distances, locations = (one.reshape(len(some), -1) for one in model.model.nearest_neighbors(rows, 1))
        found += model.model.compute_anomaly_score(distances, locations, rows).tolist()
    return found


def table(work: Work) -> Iterator[str]:
    model = work.model()
    tests = tests_of(work, model)
    for count in IMAGES:
        for name, model.augment in AUGMENTS.items():
            found = np.array([aurocs(work, model, tests, count, seed) for seed in SEEDS])
            figures = [f"{mean:.3f} ± {spread:.3f}" for mean, spread in zip(found.mean(0), found.std(0), strict=True)]
            yield f"| {' | '.join([str(count), name, *figures])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, help="folder with data/magnetic_tile and weights/")
    parser.add_argument("--only", help="part of the name of the works to measure; writes no page")
    options = parser.parse_args()
    parts = [HEAD]
    for work in all_works(options.shared):
        # One kind of cells is enough.
        if work.ratio != 0.01 or work.name == "ELPV poly" or (options.only and options.only not in work.name):
            continue
        title, rows = f"{work.name}: {work.backbone}, {work.size} px", []
        for row in table(work):
            rows.append(row)
            print(title, row, flush=True)
        parts.append("\n".join([f"\n## {title}\n", _COLUMNS, "|---" * 5 + "|", *rows, ""]))
        if not options.only:
            write_page("few-images.md", parts)


if __name__ == "__main__":
    main()
