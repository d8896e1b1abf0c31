"""The rows of the benchmark: each does the same work on both sides, checks that it did, and gives a ratio."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from patchcore_edge.models import KCenterGreedy

from .material import cell_pool
from .peer import Peer

RATIO = 0.01
PEER_PICKS = 40
REPEATS = 3

IMPORT_OURS = """
import json, pathlib, sys, time
start = time.perf_counter()
import patchcore_edge_runtime
seconds = time.perf_counter() - start
peak = int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"seconds": seconds, "mib": peak, "modules": len(sys.modules)}))
"""


@dataclass(frozen=True)
class Row:
    """One line of the table; ``ratio`` is how many times less ours takes."""

    what: str
    ours: str
    peer: str
    ratio: float
    check: str


def coreset(peer: Peer, scratch: Path) -> Row:
    """Greedy k-center, 235,200 x 152 → 2,352; the peer's picks are timed in part and scaled, for it takes minutes."""
    pool_file = cell_pool(scratch)
    pool = torch.from_numpy(np.load(pool_file))
    seconds = []
    for seed in range(REPEATS):
        start = time.perf_counter()
        chosen = KCenterGreedy(pool, RATIO, seed).select_coreset_idxs()
        seconds.append(time.perf_counter() - start)
    theirs = peer.run("coreset", pool=pool_file, ratio=RATIO, picks=PEER_PICKS)
    ours = statistics.median(seconds)
    scaled = theirs["prepare"] + theirs["per_pick"] * (theirs["size"] - 1)
    radii = [_radius(pool, picks) for picks in (chosen[:PEER_PICKS], theirs["chosen"][:PEER_PICKS])]
    return Row(
        f"coreset, {pool.shape[0]:,} x {pool.shape[1]} → {len(chosen):,}",
        f"{ours:.2f} s",
        f"{scaled:.0f} s ({PEER_PICKS} picks timed)",
        scaled / ours,
        f"{len(chosen)} and {theirs['size']} picks; radius after {PEER_PICKS}: {radii[0]:.2f} and {radii[1]:.2f}",
    )


def imported(peer: Peer, scratch: Path) -> Row:
    """Resident memory of importing the runtime, before a model is loaded."""
    runs = [json.loads(subprocess.check_output([sys.executable, "-c", IMPORT_OURS])) for _ in range(REPEATS)]
    theirs = [peer.run("imported") for _ in range(REPEATS)]
    ours_mib, peer_mib = (statistics.median(run["mib"] for run in side) for side in (runs, theirs))
    ours_s, peer_s = (statistics.median(run["seconds"] for run in side) for side in (runs, theirs))
    return Row(
        "runtime import, resident memory",
        f"{ours_mib:.0f} MiB, {ours_s:.2f} s",
        f"{peer_mib:.0f} MiB, {peer_s:.2f} s",
        peer_mib / ours_mib,
        f"{runs[0]['modules']:,} and {theirs[0]['modules']:,} modules",
    )


def _radius(pool: torch.Tensor, picks: list[int]) -> float:
    """Largest distance of a point to its nearest pick: what greedy k-center makes small."""
    nearest = torch.full((len(pool),), torch.inf)
    for pick in picks:
        nearest = torch.minimum(nearest, (pool - pool[pick]).square().sum(1))
    return float(nearest.max().sqrt())
