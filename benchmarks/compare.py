"""anomalib on the same pixels, weights and bank as a fitted model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from patchcore_edge.data import DataModule, ImageDataset
from patchcore_edge.metrics.evaluator import AUPRO_FPR_LIMIT
from patchcore_edge.metrics.pixel_histogram import PixelHistogram
from patchcore_edge.metrics.scores import Scores
from patchcore_edge.models import Patchcore

from .peer import Peer

COMPARED = 4
"""Images whose embeddings and patch distances are compared."""


@dataclass(frozen=True)
class PeerScores:
    """What anomalib found: its scores in our form, ``[P,D]`` embeddings, ``[P]`` distances, AUPRO by its own metric."""

    scores: Scores
    embeddings: NDArray[np.float32]
    distances: NDArray[np.float32]
    own_aupro: float | None


def peer_scores(peer: Peer, model: Patchcore, dataset: ImageDataset, ours: Scores) -> PeerScores:
    """Let anomalib score the images that ``ours`` are the scores of."""
    extractor = model.model.feature_extractor
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        np.save(folder / "frames.npy", frames_of(dataset))
        known = [mask for mask in ours.masks if mask is not None]
        masks = folder / "masks.npy" if len(known) == len(dataset) else None
        if masks is not None:
            np.save(masks, np.stack(known))
        save_file({"bank": model.model.memory_bank.contiguous()}, folder / "bank.safetensors")
        facts = peer.run(
            "score",
            backbone=model.model.backbone,
            layers=model.model.layers,
            neighbors=model.model.num_neighbors,
            network=save_network(model, folder / "network.safetensors"),
            bank=folder / "bank.safetensors",
            frames=folder / "frames.npy",
            masks=masks,
            mean=extractor.mean,
            std=extractor.std,
            output=folder / "found.npz",
            fpr_limit=AUPRO_FPR_LIMIT,
        )
        found = np.load(folder / "found.npz")
        scores = _in_our_form(ours, found["scores"], found["maps"])
        return PeerScores(scores, found["embeddings"], found["distances"], facts["aupro"])


@dataclass(frozen=True)
class Mahalanobis:
    """What anomalib's ``MHPatchcore`` found.

    Attributes:
        scores: in our form.
        bank: its vectors and their dimensions.
    """

    scores: Scores
    bank: tuple[int, int]


def mahalanobis_scores(
    peer: Peer, model: Patchcore, data: DataModule, ours: Scores, seed: int, batch_sizes: Sequence[int]
) -> list[Mahalanobis]:
    """Let anomalib's ``MHPatchcore`` fit and score what ``model`` was fitted on and ``ours`` are the scores of.

    Args:
        model: gives the backbone, its weights, layers and normalisation, and the size of the images.
        data: its training images and its test images, all with masks or none.
        seed: order of the training images.
        batch_sizes: training images a batch; it is fitted once with each.
    """
    extractor, spec = model.model.feature_extractor, model.pre_processor.spec
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, items in (("train", data.train), ("test", data.test)):
            np.save(folder / f"{name}.npy", frames_of(DataModule.dataset(items, spec)))
        facts = peer.run(
            "mahalanobis",
            backbone=model.model.backbone,
            layers=model.model.layers,
            network=save_network(model, folder / "network.safetensors"),
            train=folder / "train.npy",
            test=folder / "test.npy",
            mean=extractor.mean,
            std=extractor.std,
            seed=seed,
            batch_sizes=batch_sizes,
            output=folder / "found.npz",
        )
        with np.load(folder / "found.npz") as found:
            return [
                Mahalanobis(
                    _in_our_form(ours, found[f"scores_{fit['batch']}"], found[f"maps_{fit['batch']}"]),
                    tuple(fit["bank"]),
                )
                for fit in facts["fits"]
            ]


def frames_of(dataset: ImageDataset) -> NDArray[np.uint8]:
    """All images, ``[n,H,W,3]`` uint8 BGR."""
    return np.stack([dataset.image(index) for index in range(len(dataset))])


def _in_our_form(ours: Scores, scores: NDArray[np.float32], maps: NDArray[np.float32]) -> Scores:
    """The peer's scores ``[n]`` and maps ``[n,H,W]`` of the images that ``ours`` are the scores of."""
    known = [mask for mask in ours.masks if mask is not None]
    return replace(
        ours,
        scores=scores,
        maps=list(maps),
        map_maxima=maps.max((1, 2)),
        map_medians=np.median(maps, (1, 2)),
        pixels=PixelHistogram.of(maps, known) if len(known) == len(maps) else None,
    )


def save_network(model: Patchcore, file: Path) -> Path:
    """Write the backbone's weights in timm's names; returns ``file``."""
    state = model.model.feature_extractor.network.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    return file


def our_patches(model: Patchcore, images: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embeddings ``[P,D]`` and distances ``[P]`` of normalised images."""
    with torch.inference_mode():
        embedding = model.model.reshape_embedding(model.model.embed(images))
        distances, _ = model.model.nearest_neighbors(embedding, 1)
    return embedding.numpy(), distances[:, 0].numpy()
