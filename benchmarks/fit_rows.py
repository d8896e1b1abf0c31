"""Rows of what runs on the host: the coreset, a whole fit, the memory of a large one, and what comes of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from patchcore_edge.data import DataModule
from patchcore_edge.engine import Engine
from patchcore_edge.metrics.scores import collect_scores
from patchcore_edge.models import KCenterGreedy, Patchcore, PatchcoreModel
from patchcore_edge.models.weights import DEFAULT_BACKBONE, DEFAULT_LAYERS
from patchcore_edge.runs.checkpoint import load_run
from patchcore_edge_runtime.images.files import write_image
from samples.demo.cells import TRAIN_IMAGES

from .compare import peer_scores, save_network
from .limits import limits
from .material import cell_pool, cells
from .peer import Peer
from .row import Row, Times, repeated
from .scale_fit import GIB, MEMORY_LIMIT, fit_many, make_images
from .works import elpv

RATIO = 0.01
SIZE = 224
REPEATS = 3
TESTED = 400
MANY, MANY_BANK = 10_000, 2_000
PEER_IMAGES = (100, 200)


def coreset(peer: Peer, scratch: Path) -> Row:
    """Greedy k-center, 235,200 x 152 → 2,352."""
    pool_file = cell_pool(scratch)
    pool = torch.from_numpy(np.load(pool_file))
    sampler = KCenterGreedy(pool, RATIO)
    sampler.select_coreset_idxs()  # memory and libraries are warm on both sides
    ours = repeated(lambda seed: KCenterGreedy(pool, RATIO, seed).select_coreset_idxs(), 2 * REPEATS)
    theirs = peer.run("coreset", pool=pool_file, ratio=RATIO)
    picks = sampler.select_coreset_idxs()
    radii = [_radius(pool, chosen) for chosen in (picks, theirs["chosen"])]
    ratio = theirs["seconds"] / ours.median
    return Row(
        f"coreset, {pool.shape[0]:,} x {pool.shape[1]} → {len(picks):,}",
        ours.spread(),
        Times([theirs["seconds"]]).spread(),
        f"{ratio:.0f}x",
        "300x",
        ratio >= 300,
        f"{len(picks):,} and {len(set(theirs['chosen'])):,} points; largest distance of a patch to them "
        f"{radii[0]:.2f} and {radii[1]:.2f}; {sampler.rounds} passes over the pool",
        limits().of_products(2.0 * pool.numel() * len(picks), ours.median),
    )


def _radius(pool: torch.Tensor, picks: list[int]) -> float:
    """Largest distance of a point to its nearest pick: what greedy k-center makes small."""
    chosen = pool[picks]
    return max(float(PatchcoreModel.euclidean_dist(block, chosen).amin(1).max()) for block in torch.split(pool, 8192))


def whole_fit(peer: Peer, scratch: Path) -> Row:
    """From 300 image files to a saved model, as a process of its own on either side."""
    good, run = scratch / "cells" / "good", scratch / "cells_run"
    _write_cells(good)
    words = [sys.executable, "-m", "patchcore_edge", "train", good, "-o", run, "--image-size", SIZE]
    words += ["--coreset-sampling-ratio", RATIO, "--num-neighbors", 9]

    def train(_: int) -> None:
        subprocess.run([str(word) for word in words], check=True, capture_output=True)

    ours = repeated(train, REPEATS)
    model, _ = load_run(run)
    theirs = _peer_fit(peer, scratch, model)
    bank = load_file(scratch / "peer_bank.safetensors")["bank"]
    ratio = theirs["process_seconds"] / ours.median
    return Row(
        f"whole fit, {TRAIN_IMAGES} solar cells at {SIZE} px, EfficientNet-Lite0, 1 %; process start to saved model",
        ours.spread(),
        f"{Times([theirs['process_seconds']]).spread()}, of it fit {theirs['fit_seconds']:.3g} s",
        f"{ratio:.0f}x",
        "60x",
        ratio >= 60,
        f"the same files and weights; banks of {len(model.model.memory_bank):,} and {len(bank):,} patches",
    )


def _write_cells(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    dataset = cells(TRAIN_IMAGES, 300)
    for index in range(len(dataset)):
        write_image(folder / f"{index:03d}.png", dataset.image(index))


def _peer_fit(peer: Peer, scratch: Path, model: Patchcore) -> dict[str, float]:
    extractor = model.model.feature_extractor
    return peer.run(
        "fit",
        root=scratch / "cells",
        folder=scratch / "peer_fit",
        backbone=DEFAULT_BACKBONE,
        layers=DEFAULT_LAYERS,
        network=save_network(model, scratch / "lite0.safetensors"),
        mean=extractor.mean,
        std=extractor.std,
        size=SIZE,
        ratio=RATIO,
        bank=scratch / "peer_bank.safetensors",
    )


def auroc(peer: Peer, scratch: Path) -> Row:
    """Image AUROC, each side with the bank it chose itself from the same images."""
    run, bank = scratch / "cells_run", scratch / "peer_bank.safetensors"
    if not run.is_dir() or not bank.is_file():
        whole_fit(peer, scratch)
    model, _ = load_run(run)
    test = [item for item in elpv("mono").test if item.path not in {i.path for i in cells(TRAIN_IMAGES, SIZE).items}]
    items = [test[place] for place in np.linspace(0, len(test) - 1, TESTED).round().astype(int)]
    dataset = DataModule.dataset(items, model.pre_processor.spec)
    found = collect_scores(Engine("cpu", progress=False).stream(model, dataset), keep_maps=True)
    ours = float(roc_auc_score(found.labels, found.scores))
    model.model.memory_bank = load_file(bank)["bank"]
    theirs = float(roc_auc_score(found.labels, peer_scores(peer, model, dataset, found).scores.scores))
    return Row(
        "image AUROC, solar cells, EfficientNet-Lite0",
        f"{ours:.4f}",
        f"{theirs:.4f}",
        f"{ours - theirs:+.4f}",
        "equal or better",
        ours >= theirs - 5e-3,
        f"{int((~found.labels).sum())} good and {int(found.labels.sum())} defective cells, the same on both sides; "
        "each with its own bank of the package's first 300 good cells, so that good test cells are of later modules "
        "and defective ones of all (both splits: accuracy.md)",
    )


def memory(peer: Peer, scratch: Path, weights: Path | None) -> Row:
    """Peak memory of fitting 10,000 images; the peer's is measured on few and carried on in a straight line."""
    found = fit_many(MANY, None, weights, MANY_BANK, MEMORY_LIMIT, scratch)
    peaks = [_peer_peak(peer, scratch / f"peer_{count}", count) for count in PEER_IMAGES]
    slope = (peaks[1] - peaks[0]) / (PEER_IMAGES[1] - PEER_IMAGES[0])
    theirs = peaks[1] + slope * (MANY - PEER_IMAGES[1])
    ours = found.peak_bytes / GIB
    return Row(
        f"peak memory of a fit: {MANY:,} images of 256 px, ResNet-18, bank of {MANY_BANK:,}; `--memory-limit "
        f"{MEMORY_LIMIT}`",
        f"{ours:.2f} GiB, {found.disk} of disk",
        f"{theirs:.0f} GiB, from {peaks[0]:.2f} and {peaks[1]:.2f} at {PEER_IMAGES[0]} and {PEER_IMAGES[1]} images",
        f"{theirs / ours:.0f}x",
        "6 GB (aim 3 GB)",
        found.peak_bytes < 6e9,
        "features of the same size",
    )


def _peer_peak(peer: Peer, folder: Path, count: int) -> float:
    """GiB that the peer takes to fit so many images with a bank of ten, for which its selection takes no time."""
    folder.mkdir(parents=True, exist_ok=True)
    make_images(None, folder / "good", count)
    model = Patchcore("resnet18", ("layer2", "layer3"), pre_trained=False)
    extractor = model.model.feature_extractor
    facts = peer.run(
        "fit",
        root=folder,
        folder=folder / "results",
        backbone="resnet18",
        layers=("layer2", "layer3"),
        network=save_network(model, folder / "network.safetensors"),
        mean=extractor.mean,
        std=extractor.std,
        size=256,
        ratio=10 / (count * (256 // 8) ** 2),
        bank=folder / "bank.safetensors",
    )
    return float(facts["peak_mib"]) / 1024
