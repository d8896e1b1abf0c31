"""A fit's parts, timed one by one in each process that shares it: what ``benchmarks.scale_plan`` checks its model with.

torchrun --nproc-per-node 2 -m benchmarks.scale_run IMAGES -o RESULT.json --bank 2000
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import torch

from patchcore_edge.data import ImageItem
from patchcore_edge.data.dataset import ImageDataset
from patchcore_edge.engine import Engine
from patchcore_edge.fit.copies import find_parts
from patchcore_edge.fit.distributed.launch import distributed
from patchcore_edge.fit.distributed.ranks import ranks
from patchcore_edge.fit.outliers import find_outliers
from patchcore_edge.fit.storage import FeatureStorageOptions
from patchcore_edge.models import KCenterGreedy, Patchcore
from patchcore_edge_runtime.images.listing import list_images

SIZE = 256


@dataclass
class Parts:
    """What a fit took.

    Attributes:
        seconds: by part, those of the slowest process.
        exchanged: bytes by part that one process gave to exchanges.
        peak: resident bytes of the largest process.
        disk: bytes of the largest process's features.
    """

    images: int
    ranks: int
    cores: int
    patches: int
    dimensions: int
    bank: int
    rounds: int = 0
    candidates: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    exchanged: dict[str, int] = field(default_factory=dict)
    peak: int = 0
    disk: int = 0


def main() -> None:
    """Run the parts and write what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of images")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--images", type=int, default=None, help="so many of them; all when absent")
    parser.add_argument("--bank", type=int, default=2000, help="patches to keep")
    parser.add_argument("--weights", type=Path, default=None, help="of ResNet-18; random ones without")
    given = parser.parse_args()
    with distributed("cpu") as job:
        # A core of its own for each, or one process would have all of them.
        cores = psutil.Process().cpu_affinity()
        psutil.Process().cpu_affinity([cores[job.rank % len(cores)]])
        found = run(given.folder, given.images, given.bank, given.weights)
        if job.is_first:
            given.output.write_text(json.dumps(asdict(found)), encoding="utf-8")


def run(folder: Path, images: int | None, bank: int, weights: Path | None) -> Parts:
    """The parts of a fit, one after the other, with features on disk."""
    torch.manual_seed(0)
    processor = Patchcore.configure_pre_processor((SIZE, SIZE))
    layers = ("layer2", "layer3")
    model = Patchcore("resnet18", layers, pre_trained=False, pre_processor=processor, weights=weights)
    items = [ImageItem(path) for path in list_images(folder).files[:images]]
    grid = model.model.patch_grid((SIZE, SIZE))
    job, patches = ranks(), grid[0] * grid[1]
    found = Parts(len(items), job.size, os.cpu_count() or 1, patches, model.model.embedding_dim, bank)
    with TemporaryDirectory() as scratch:
        storage = FeatureStorageOptions(folder=Path(scratch) / "features", memory_limit=1)
        with (
            _timed(found, "features"),
            Engine("cpu", progress=False).features(model, ImageDataset(items, processor.spec), storage) as store,
        ):
            pool = store.pool()
            job.sum(torch.zeros(1))
            sampler = KCenterGreedy(pool, 1.0, size=bank)
            found.disk = sum(path.stat().st_size for path in Path(scratch).rglob("features.bin"))
            with _timed(found, "selection"):
                picks = sampler.select_coreset_idxs()
            found.rounds, found.candidates = sampler.rounds, sampler.candidates
            digests = [str(place) for place in range(len(items))]
            with _timed(found, "copies"):
                find_parts(pool, grid, digests)
            with _timed(found, "outliers"):
                find_outliers(pool, picks, [item.path for item in items], grid)
    found.seconds["features"] -= sum(found.seconds[name] for name in ("selection", "copies", "outliers"))
    found.exchanged["features"] -= sum(found.exchanged[name] for name in ("selection", "copies", "outliers"))
    found.disk = max(job.values(found.disk))
    found.peak = max(job.values(psutil.Process().memory_info().rss))
    found.seconds = {name: max(job.values(seconds)) for name, seconds in found.seconds.items()}
    return found


@contextmanager
def _timed(found: Parts, name: str) -> Iterator[None]:
    job, start = ranks(), time.perf_counter()
    before = job.exchanged
    yield
    job.sum(torch.zeros(1))
    found.seconds[name] = time.perf_counter() - start
    found.exchanged[name] = job.exchanged - before


if __name__ == "__main__":
    main()
