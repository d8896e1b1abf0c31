"""Tasks of ``peer_tasks`` with anomalib's ``MHPatchcore``; for the peer's Python."""

from __future__ import annotations

import time
from typing import Any


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
) -> dict:
    """Fit ``MHPatchcore``'s model as it is by default, and score; once for each size of its training batches.

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
    start = time.perf_counter()
    # Its trainer extracts them once more for each of the three passes.
    images = _patches(fresh(), frames[np.random.default_rng(seed).permutation(len(frames))], mean, std)
    extraction = time.perf_counter() - start
    arrays, facts = {}, []
    for size in batch_sizes:
        model = fresh()
        passes = _three_passes(model, [part.flatten(0, 1) for part in images.split(size)])
        scores, maps = _scored(model.eval(), np.load(test, mmap_mode="r"), mean, std)
        arrays |= {f"scores_{size}": scores, f"maps_{size}": maps}
        bank = list(model.memory_bank.bank.shape)
        facts.append({"batch": size, "bank": bank, "fit_seconds": 3 * extraction + passes})
    np.savez(output, **arrays)
    return {"fits": facts}


def export_mahalanobis(
    folder: str, backbone: str, layers: list[str], network: str, train: str, mean: list[float], std: list[float]
) -> dict:
    """Fit ``MHPatchcore`` on ``[n,H,W,3]`` uint8 BGR frames, in batches of four, and write its IR for batch 1."""
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
    images = _patches(model.model, frames, mean, std)
    _three_passes(model.model, [part.flatten(0, 1) for part in images.split(4)])
    model.eval()
    path = model.to_openvino(folder, input_size=size, onnx_kwargs={"dynamic_axes": None})
    return {"xml": str(path), "bank": list(model.model.memory_bank.bank.shape)}


def _patches(model: Any, frames: Any, mean: list[float], std: list[float]) -> Any:
    """The embeddings ``[n, P, 1024]`` of uint8 BGR frames."""
    import torch

    model.train()
    with torch.no_grad():
        parts = [model(normalised(frames[start : start + 4], mean, std)) for start in range(0, len(frames), 4)]
    return torch.cat(parts).reshape(len(frames), -1, parts[0].shape[1])


def _three_passes(model: Any, batches: list[Any]) -> float:
    """PCA, covariance, bank, as its ``training_step`` and ``fit`` call them; the seconds they took."""
    start = time.perf_counter()
    for batch in batches:
        model.pca.update(batch)
    model.pca.finalize()
    for batch in batches:
        model.covariance.update(model.pca(batch))
    model.covariance.finalize()
    for batch in batches:
        model.memory_bank.update(model.covariance(model.pca(batch)))
    model.memory_bank.finalize()
    return time.perf_counter() - start


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
