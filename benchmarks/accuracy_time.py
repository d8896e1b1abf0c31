"""The times of a frame on both sides, for ``docs/accuracy.md``: each graph at f32, batch 1, in turns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from patchcore_edge_export.build import GraphOptions
from patchcore_edge_runtime.bundle.bundle import MODEL_XML
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend

from .bench import RESNET18_WEIGHTS, machine
from .peer import VERSION, Peer
from .peer_graphs import PeerGraph, mahalanobis_graph, patchcore_ir
from .row import alternating
from .subject import Subject, batches, compiled

BANK = 2_457
"""That of magnetic tile at 1 %."""
ROUNDS = 4

HEAD = """
## ms per frame

ResNet-18 at 256 px, from a frame to score and map, on the same solar cells in turns; medians with their quartiles, on
{machine}.

| graph | bank | time | times ours, exact |
|---|---|---|---|
"""


def time_table(peer: Peer, shared: Path, scratch: Path) -> str:
    """The table, with its heading."""
    subject = Subject("resnet18", shared / RESNET18_WEIGHTS, images=240, bank=BANK)
    folder = scratch / "times"
    folder.mkdir(parents=True, exist_ok=True)
    fitted = subject.model(folder)
    built = subject.graph(folder / "fast", fitted, GraphOptions(search="fast", force=True))
    mahalanobis, facts = mahalanobis_graph(peer, fitted, folder / "mahalanobis", subject)
    exact = "ours, exact search"
    fast = f"ours, fast search ({built.search_facts.reason})"
    runners: dict[str, Callable[[Any], Any]] = {
        f"anomalib {VERSION}'s `Patchcore`": PeerGraph(patchcore_ir(peer, fitted, folder / "patchcore", subject)),
        f"anomalib {VERSION}'s `MHPatchcore`": mahalanobis,
        exact: compiled(folder / "exact", fitted, None).infer,
        fast: OpenVINOBackend(folder / "fast" / MODEL_XML, "CPU", "latency").infer,
    }
    times = alternating(runners, batches(subject.timed()), ROUNDS)
    rows = [
        f"| {name} | {facts['bank'][0] if runners[name] is mahalanobis else BANK:,} | {found.spread()} | "
        f"{found.median / times[exact].median:.2f} |"
        for name, found in times.items()
    ]
    fit = f"`MHPatchcore`'s fit on {subject.images} of these cells took {facts['fit_seconds']:.0f} s."
    return HEAD.format(machine=machine()) + "\n".join([*rows, "", fit, ""])
