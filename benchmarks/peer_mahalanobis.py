"""Tasks of ``peer_tasks`` with anomalib's ``MHPatchcore``; for the peer's Python."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHECKED_PICKS = 64
"""Picks of the first block that are made both ways."""


def normalised(frames: Any, mean: list[float], std: list[float]) -> Any:
    """``[n,H,W,3]`` uint8 BGR → ``[n,3,H,W]`` float32 RGB as the backbone takes it."""
    import torch

    shift, scale = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (mean, std))
    rgb = torch.from_numpy(frames[..., ::-1].copy()).permute(0, 3, 1, 2)
    return (rgb.float() / 255 - shift) / scale


def mahalanobis(
    backbone: str,
    layers: list[str],
    network: str,
    train: str,
    test: str,
    mean: list[float],
    std: list[float],
    seed: int,
    batch_sizes: list[int],
    output: str,
) -> dict[str, Any]:
    """Fit ``MHPatchcore``'s model as it is by default, and score; once for each size of its training batches.

    Its blocks of vectors are chosen by ``_farthest_first``, which picks the same in less time.

    Args:
        train, test: files of ``[n,H,W,3]`` uint8 BGR frames.
        seed: order of the training images, which its trainer shuffles. Nothing else in it is random.
        batch_sizes: training images a batch; they decide how large the bank becomes.
        output: ``scores_B`` ``[n]`` and ``maps_B`` ``[n,H,W]`` of each batch size B (.npz).
    """
    import numpy as np
    from anomalib.models.image.mh_patchcore.torch_model import MHPatchcoreModel
    from safetensors.torch import load_file

    def fresh() -> Any:
        model = MHPatchcoreModel(backbone, layers, pre_trained=False)
        model.feature_extractor.feature_extractor.load_state_dict(load_file(network), strict=False)
        return model

    frames = np.load(train)
    images = _patches(fresh(), frames[np.random.default_rng(seed).permutation(len(frames))], mean, std)
    arrays: dict[str, Any] = {}
    facts = []
    for size in batch_sizes:
        model = fresh()
        with _quick_selection():
            _three_passes(model, [part.flatten(0, 1) for part in images.split(size)])
        scores, maps = _scored(model.eval(), np.load(test, mmap_mode="r"), mean, std)
        arrays |= {f"scores_{size}": scores, f"maps_{size}": maps}
        facts.append({"batch": size, "bank": list(model.memory_bank.bank.shape)})
    np.savez(output, **arrays)
    return {"fits": facts}


def export_mahalanobis(
    folder: str, backbone: str, layers: list[str], network: str, train: str, mean: list[float], std: list[float]
) -> dict[str, Any]:
    """Fit ``MHPatchcore`` on ``[n,H,W,3]`` uint8 BGR frames, all by its own code, and write its IR for batch 1."""
    import numpy as np
    from anomalib.models import MHPatchcore, Patchcore
    from safetensors.torch import load_file

    frames = np.load(train)
    size = frames.shape[1:3]
    model = MHPatchcore(
        backbone=backbone,
        layers=layers,
        pre_trained=False,
        pre_processor=Patchcore.configure_pre_processor(image_size=size),  # its own crops to 224x224
        post_processor=False,
    )
    model.model.feature_extractor.feature_extractor.load_state_dict(load_file(network), strict=False)
    start = time.perf_counter()
    images = _patches(model.model, frames, mean, std)
    extraction = time.perf_counter() - start
    _three_passes(model.model, [part.flatten(0, 1) for part in images.split(32)])
    # Its trainer extracts the features once more for each of the three passes.
    seconds = time.perf_counter() - start + 2 * extraction
    model.eval()
    path = model.to_openvino(folder, input_size=size, onnx_kwargs={"dynamic_axes": None})
    return {"xml": str(path), "bank": list(model.model.memory_bank.bank.shape), "fit_seconds": seconds}


def _patches(model: Any, frames: Any, mean: list[float], std: list[float]) -> Any:
    """The embeddings ``[n, P, 1024]`` of uint8 BGR frames."""
    import torch

    model.train()
    with torch.no_grad():
        parts = [model(normalised(frames[start : start + 4], mean, std)) for start in range(0, len(frames), 4)]
    return torch.cat(parts).reshape(len(frames), -1, parts[0].shape[1])


def _three_passes(model: Any, batches: list[Any]) -> None:
    """PCA, covariance, bank, as its ``training_step`` and ``fit`` call them."""
    for batch in batches:
        model.pca.update(batch)
    model.pca.finalize()
    for batch in batches:
        model.covariance.update(model.pca(batch))
    model.covariance.finalize()
    for batch in batches:
        model.memory_bank.update(model.covariance(model.pca(batch)))
    model.memory_bank.finalize()


@contextmanager
def _quick_selection() -> Iterator[None]:
    """Its memory bank chooses by ``_farthest_first``, once that has been seen to choose as its own function does."""
    from anomalib.models.image.mh_patchcore import components

    own = components._farthest_first_coreset
    checked: list[bool] = []

    def choose(embeddings: Any, target_size: int) -> Any:
        if not checked:
            few = min(CHECKED_PICKS, target_size)
            if not own(embeddings, few).equal(_farthest_first(embeddings, few)):
                sys.exit("The quick selection does not choose what MHPatchcore's own does.")
            checked.append(True)
        return _farthest_first(embeddings, target_size)

    components._farthest_first_coreset = choose
    try:
        yield
    finally:
        components._farthest_first_coreset = own


def _farthest_first(embeddings: Any, target_size: int) -> Any:
    """Of ``[n, D]`` float64 rows the one farthest from their mean, then each time the one farthest from all those.

    ‖x‖² − 2xy + ‖y‖² in place of differences: a row's distance to all others is then read, not written, n * D values.
    """
    import torch

    if target_size >= len(embeddings):
        return embeddings.clone()
    rows = embeddings - embeddings.mean(0, keepdim=True)
    norms = (rows * rows).sum(1)
    chosen, nearest = [int(norms.argmax())], torch.full_like(norms, torch.inf)
    while True:
        newest = chosen[-1]
        nearest = torch.minimum(nearest, norms + norms[newest] - 2 * (rows @ rows[newest]))
        nearest[newest] = 0.0
        if len(chosen) == target_size:
            return embeddings[torch.tensor(chosen)]
        chosen.append(int(nearest.argmax()))


def _scored(model: Any, frames: Any, mean: list[float], std: list[float]) -> tuple[Any, Any]:
    """Scores ``[n]`` and maps ``[n,H,W]`` of uint8 BGR frames."""
    import numpy as np
    import torch

    scores, maps = [], []
    for start in range(0, len(frames), 4):
        with torch.no_grad():
            found = model(normalised(frames[start : start + 4], mean, std))
        scores.append(found.pred_score.numpy())
        maps.append(found.anomaly_map[:, 0].numpy())
    return np.concatenate(scores), np.concatenate(maps)
