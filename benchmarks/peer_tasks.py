"""Run by the peer's Python: python -m benchmarks.peer_tasks TASK JSON. Prints one line of JSON.

Imports nothing of ours but ``peer_mahalanobis`` beside it.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from .peer_mahalanobis import export_mahalanobis, mahalanobis, normalised

warnings.simplefilter("ignore")


def export_ir(
    folder: str, backbone: str, layers: list[str], network: str, bank: str, size: int, neighbors: int
) -> dict[str, Any]:
    """Write the peer's IR with the given weights and bank, for batch 1.

    Its default export gives an IR that takes batch 2 only; without dynamic axes it is static.
    """
    from anomalib.models import Patchcore
    from safetensors.torch import load_file

    model = Patchcore(
        backbone=backbone,
        layers=layers,
        pre_trained=False,
        num_neighbors=neighbors,
        pre_processor=Patchcore.configure_pre_processor(image_size=(size, size)),
        post_processor=False,
    )
    given = load_file(network)
    own = model.model.feature_extractor.state_dict()
    prefix = next(name for name in own if name.endswith(next(iter(given))))[: -len(next(iter(given)))]
    model.model.feature_extractor.load_state_dict(
        {prefix + name: tensor for name, tensor in given.items()}, strict=False
    )
    missing = [name for name in own if name.removeprefix(prefix) not in given and "num_batches" not in name]
    model.model.memory_bank = load_file(bank)["bank"]
    model.eval()
    path = model.to_openvino(folder, input_size=(size, size), onnx_kwargs={"dynamic_axes": None})
    return {"xml": str(path), "missing": missing}


def score(
    backbone: str,
    layers: list[str],
    neighbors: int,
    network: str,
    bank: str,
    frames: str,
    masks: str | None,
    mean: list[float],
    std: list[float],
    output: str,
    fpr_limit: float,
) -> dict[str, Any]:
    """Score ``[n,H,W,3]`` uint8 BGR frames with the given weights and bank; arrays go to ``output`` (.npz)."""
    import numpy as np
    import torch
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel
    from safetensors.torch import load_file

    model = PatchcoreModel(layers, backbone, pre_trained=False, num_neighbors=neighbors)
    unused = model.feature_extractor.feature_extractor.load_state_dict(load_file(network), strict=False)
    model.memory_bank = load_file(bank)["bank"]
    pixels = np.load(frames, mmap_mode="r")
    scores, maps, distances, embeddings = [], [], [], []
    for start in range(0, len(pixels), 4):
        images = normalised(pixels[start : start + 4], mean, std)
        with torch.no_grad():
            found = model.eval()(images)
            patches = model.train()(images)
        model.embedding_store.clear()
        if start == 0:
            embeddings.append(patches.numpy())
            distances.append(model.nearest_neighbors(patches, 1)[0].numpy())
        scores.append(found.pred_score.numpy())
        maps.append(found.anomaly_map[:, 0].numpy())
    arrays = {"scores": scores, "maps": maps, "distances": distances, "embeddings": embeddings}
    joined: dict[str, Any] = {name: np.concatenate(parts) for name, parts in arrays.items()}
    np.savez(output, **joined)
    return {
        "not_given": [name for name in unused.missing_keys if "num_batches" not in name],
        "aupro": None if masks is None else _peer_aupro(joined["maps"], np.load(masks), fpr_limit),
    }


def _peer_aupro(maps: Any, masks: Any, fpr_limit: float) -> float:
    import torch
    from anomalib.metrics.aupro import _AUPRO

    metric = _AUPRO(fpr_limit=fpr_limit)
    metric.update(torch.from_numpy(maps), torch.from_numpy(masks).int())
    return float(metric.compute())


def coreset(pool: str, ratio: float) -> dict[str, Any]:
    """Time the peer's sampler, from the pool to the picks."""
    import numpy as np
    import torch
    from anomalib.models.components import KCenterGreedy

    embedding = torch.from_numpy(np.load(pool))
    torch.manual_seed(0)
    start = time.perf_counter()
    chosen = KCenterGreedy(embedding, sampling_ratio=ratio).select_coreset_idxs()
    return {"seconds": time.perf_counter() - start, "chosen": [int(place) for place in chosen]}


def fit(
    root: str,
    folder: str,
    backbone: str,
    layers: list[str],
    network: str,
    mean: list[float],
    std: list[float],
    size: int,
    ratio: float,
    bank: str,
) -> dict[str, Any]:
    """Fit on ``root/good`` with the given weights and normalisation; the bank goes to ``bank`` (.safetensors)."""
    import os

    from anomalib.data import Folder
    from anomalib.engine import Engine
    from anomalib.models import Patchcore
    from anomalib.pre_processing import PreProcessor
    from safetensors.torch import load_file, save_file
    from torchvision.transforms.v2 import Compose, Normalize, Resize

    model = Patchcore(
        backbone=backbone,
        layers=layers,
        pre_trained=False,
        coreset_sampling_ratio=ratio,
        num_neighbors=9,
        pre_processor=PreProcessor(Compose([Resize((size, size), antialias=True), Normalize(mean, std)])),
    )
    model.model.feature_extractor.feature_extractor.load_state_dict(load_file(network), strict=False)
    data = Folder(
        name="cells",
        root=root,
        normal_dir="good",
        test_split_mode="none",
        val_split_mode="none",
        num_workers=os.cpu_count() or 1,
    )
    start = time.perf_counter()
    Engine(default_root_dir=folder, accelerator="cpu", devices=1, logger=False, limit_val_batches=0).fit(
        model=model, datamodule=data
    )
    seconds = time.perf_counter() - start
    save_file({"bank": model.model.memory_bank.contiguous()}, bank)
    return {"fit_seconds": seconds, "peak_mib": _peak_mib()}


def _peak_mib() -> float:
    # VmHWM is this program's own; ru_maxrss begins with that of the process it was started from.
    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def imported() -> dict[str, Any]:
    """Time and resident memory of importing what the peer's users import to run an IR."""
    start = time.perf_counter()
    from anomalib.deploy import OpenVINOInferencer  # noqa: F401

    seconds = time.perf_counter() - start
    peak = _peak_mib()
    return {"seconds": seconds, "mib": peak, "modules": len(sys.modules)}


TASKS: dict[str, Any] = {
    "coreset": coreset,
    "export_ir": export_ir,
    "export_mahalanobis": export_mahalanobis,
    "fit": fit,
    "imported": imported,
    "mahalanobis": mahalanobis,
    "score": score,
}

if __name__ == "__main__":
    arguments = json.loads(sys.argv[2])
    if "folder" in arguments:
        Path(arguments["folder"]).mkdir(parents=True, exist_ok=True)
    # Progress bars and logs of the peer go to stderr; the answer is the last line of stdout.
    print(json.dumps(TASKS[sys.argv[1]](**arguments)))
