"""Ours and anomalib on the same images, weights and bank, and what each intended difference does.

    python -m benchmarks.peer_anomalib --peer-python PY --data DIR --backbone NAME --layers A,B --weights FILE

DIR is in the MVTec layout, or ``elpv:mono`` / ``elpv:poly``. Prints two tables in Markdown: the deviations, and the
metrics under each of the differences that ``docs/differences.md`` names.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from patchcore_edge.data import Batch, DataModule, ImageDataset
from patchcore_edge.metrics.evaluator import Evaluation, evaluate
from patchcore_edge.metrics.scores import Scores, collect_scores
from patchcore_edge.models import AnomalyMapGenerator, Patchcore
from patchcore_edge.models.pre_processor import IMAGENET_MEAN, IMAGENET_STD
from patchcore_edge.models.weights import DEFAULT_BACKBONE, DEFAULT_LAYERS
from patchcore_edge_runtime.images.files import read_image
from patchcore_edge_runtime.images.preprocess import as_bgr8

from .compare import COMPARED, PeerScores, our_patches, peer_scores
from .peer import VERSION, Peer
from .works import Work, data_of

BATCH = 8
PROJECTION_EPS = 0.9


@dataclass(frozen=True)
class Pipeline:
    """Ours, with some steps done as anomalib does them.

    Attributes:
        antialias: resize by torchvision on float pixels, bilinear with antialias.
        imagenet: normalise with ImageNet's mean and deviation, whatever the backbone was trained with.
        projected: choose the coreset on a sparse random projection (eps 0.9).
        repeated: upsample patch scores by repetition before the blur.
    """

    antialias: bool = False
    imagenet: bool = False
    projected: bool = False
    repeated: bool = False


VARIANTS = {
    "ours": Pipeline(),
    "ours, map upsampled by repetition": Pipeline(repeated=True),
    "ours, resized with antialias on floats": Pipeline(antialias=True),
    "ours, normalised as ImageNet": Pipeline(imagenet=True),
    "ours, coreset on a random projection": Pipeline(projected=True),
}


class Repeated(AnomalyMapGenerator):
    """anomalib's map: patch scores repeated, then blurred."""

    def forward(self, patch_scores: Tensor, image_size: tuple[int, int] | None = None) -> Tensor:
        return self.blur(F.interpolate(patch_scores, size=image_size, mode="nearest"))


def fit_and_score(work: Work, pipeline: Pipeline) -> tuple[Patchcore, ImageDataset, Scores]:
    """The fitted model, the test images and their scores."""
    model = work.model(prepared=True)
    spec = work.model().pre_processor.spec
    if pipeline.repeated:
        model.model.anomaly_map_generator = Repeated()
    for batch in DataModule.dataset(work.data.train, spec).batches(BATCH):
        model.training_step(Batch(images(batch, model, work.size, pipeline)))
    model.fit(projection_eps=PROJECTION_EPS if pipeline.projected else None)
    dataset = DataModule.dataset(work.data.test, spec)
    scored = (
        model.validation_step(batch._replace(image=images(batch, model, work.size, pipeline)))
        for batch in dataset.batches(BATCH)
    )
    return model, dataset, collect_scores(scored, keep_maps=True)


def images(batch: Batch, model: Patchcore, size: int, pipeline: Pipeline) -> Tensor:
    """A batch's images as the backbone takes them."""
    extractor = model.model.feature_extractor
    if pipeline.antialias:
        rgb = torch.stack([_antialiased(path, size) for path in batch.image_path])
    else:
        rgb = batch.image.permute(0, 3, 1, 2).flip(1).float() / 255
    means, deviations = (IMAGENET_MEAN, IMAGENET_STD) if pipeline.imagenet else (extractor.mean, extractor.std)
    return (rgb - torch.tensor(means).reshape(3, 1, 1)) / torch.tensor(deviations).reshape(3, 1, 1)


def _antialiased(path: Path, size: int) -> Tensor:
    rgb = torch.from_numpy(as_bgr8(read_image(path))[..., ::-1].copy()).permute(2, 0, 1).float() / 255
    resized: Tensor = transforms.resize(rgb, [size, size], antialias=True)
    return resized


def deviations(model: Patchcore, dataset: ImageDataset, ours: Scores, theirs: PeerScores) -> dict[str, float]:
    """Largest deviation of each quantity, relative to its largest value."""
    frames = Batch(torch.from_numpy(np.stack([dataset.image(index) for index in range(COMPARED)])))
    embedding, distances = our_patches(model, images(frames, model, dataset.spec.height, Pipeline()))
    grid = torch.from_numpy(distances).reshape(COMPARED, 1, *_grid(model, dataset))
    repeated = Repeated()(grid, dataset.spec.input_size)[:, 0].numpy()
    return {
        "embedding": _relative(embedding, theirs.embeddings),
        "patch distance": _relative(distances, theirs.distances),
        "image score": _relative(ours.scores, theirs.scores.scores),
        "map, ours upsampled by repetition": _relative(repeated, np.stack(theirs.scores.maps[:COMPARED])),
        "map, ours as it is": _relative(np.stack(ours.maps), np.stack(theirs.scores.maps)),
    }


def _grid(model: Patchcore, dataset: ImageDataset) -> tuple[int, int]:
    with torch.inference_mode():
        rows, columns = model.model.embed(torch.zeros(1, 3, *dataset.spec.input_size)).shape[-2:]
    return rows, columns


def _relative(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def _row(name: str, found: Evaluation) -> str:
    figures = (found.image_auroc, found.pixel_auroc, found.aupro, found.image_f1_max)
    return f"| {name} | " + " | ".join("–" if value is None else f"{value:.4f}" for value in figures) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, required=True, help=f"a Python that has anomalib {VERSION}")
    parser.add_argument("--data", required=True, help="MVTec layout, elpv:mono or elpv:poly")
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE)
    parser.add_argument("--layers", default=",".join(DEFAULT_LAYERS))
    parser.add_argument("--weights", type=Path, help="the backbone's file; the package's or the hub's when absent")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--ratio", type=float, default=0.01)
    given = parser.parse_args()
    layers = tuple(given.layers.split(","))
    work = Work(
        given.data, data_of(given.data), given.backbone, layers, given.image_size, given.ratio, weights=given.weights
    )

    model, dataset, ours = fit_and_score(work, VARIANTS["ours"])
    theirs = peer_scores(Peer(given.peer_python), model, dataset, ours)
    print(f"{given.data}, {given.backbone}, {given.image_size} px, bank {len(model.model.memory_bank):,}\n")
    print(f"| against anomalib {VERSION} | largest deviation, relative to the largest value |\n|---|---|")
    for name, value in deviations(model, dataset, ours, theirs).items():
        print(f"| {name} | {value:.1e} |")
    print("\n| | image AUROC | pixel AUROC | AUPRO | F1 |\n|---|---|---|---|---|")
    print(_row("anomalib, our bank", evaluate(theirs.scores, None)))
    if theirs.own_aupro is not None:
        print(f"| the same, by anomalib's own metric | | | {theirs.own_aupro:.4f} | |")
    for name, pipeline in VARIANTS.items():
        if pipeline == Pipeline(imagenet=True) and model.model.feature_extractor.mean == IMAGENET_MEAN:
            continue  # the backbone was trained with ImageNet's values: the same as ours
        scores = ours if name == "ours" else fit_and_score(work, pipeline)[2]
        print(_row(name, evaluate(scores, None)), flush=True)


if __name__ == "__main__":
    main()
