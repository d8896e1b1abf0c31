"""``make bench``: ours against anomalib 2.7.0 in one run on one machine, and ``docs/benchmarks.md`` from it.

Each row runs alone with ``--row NAME``, which renews it on the page, and checks that both sides did the same work
before it prints a ratio. The peer lives in a venv of its own (``benchmarks/peer.py``).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import openvino as ov

from . import fit_rows, frame_rows, run_rows
from .limits import limits
from .pages import DOCS
from .peer import VERSION, Peer
from .row import Row
from .subject import Subject

PAGE = DOCS / "benchmarks.md"
RESNET18_WEIGHTS = Path("weights") / "resnet18_tv_in1k_to_layer3.safetensors"

HEAD = """# Benchmarks

Written by `make bench` (`python -m benchmarks.bench --shared ../shared`) on one machine, both
sides of a row in one run: {machine}.

The peer is anomalib {peer} with the same torch and OpenVINO. Times are medians with their quartiles (of fewer than
eight runs: least and largest); a ratio is that of the medians. Latencies of all graphs are taken in turns on the same
images, all different ones. The last column says how it is known that both sides did the same work.

*Of the limit*: what ours does in a second as a share of what a large matrix product does on all cores, or a large copy
in memory; measured by the bench itself just before ({limits}).

| what | ours | anomalib {peer} | result | asked for | reached | of the limit | how it is known |
|---|---|---|---|---|---|---|---|
"""

FOOT = """
- **The peer's IR.** By default anomalib exports a dynamic batch, and what comes out takes batches of two only. Here it
  is exported with `onnx_kwargs={"dynamic_axes": None}`, so that it takes one image. It gets its image as float32 RGB,
  as its own inferencer makes it; both IRs run at f32 with the latency hint.
- **INT8** quantizes the backbone alone (`export --precision int8`); the ratio asked for is that of float32. With random
  weights its time means something and its accuracy nothing: see [quantization](quantization.md) for that.
- **bf16** computes the backbone in half precision, on CPUs that are made for it ([half precision](half-precision.md)).
- **Backbone alone** is our graph cut after the pooled features of the used layers.
- **The peer's time once** where it takes minutes; ours is then taken several times.
- **Peak memory** of the peer is measured at two small numbers of images and carried on in a straight line: its features
  stay in memory, and are copied once more when they are joined. 10,000 images would not fit into this machine.
- **Hosts differ.** The same code and the same kind of two-core machine measured, on a host where the backbone takes
  8.4 ms: coreset 274x, whole fit 43x, ResNet-18 7.9x (INT8 13.6x), WRN-50 3.9x (INT8 11.4x), graph ÷ backbone 1.21. A
  fit of a few seconds is imports first (see [performance](performance.md)), which such a host reads twice as fast; the
  peer's minutes are arithmetic.
- No GPU was at hand; fits on one are not in this table.

What each gain was expected to bring and what it brought: [performance](performance.md).
"""


def rows(shared: Path | None) -> dict[str, Callable[[Peer, Path], Row]]:
    """The rows by name, in the table's order."""
    weights = shared / RESNET18_WEIGHTS if shared is not None else None
    resnet18 = Subject("resnet18", weights, images=150)
    wide = Subject("wide_resnet50_2", None, images=40)
    return {
        "coreset": fit_rows.coreset,
        "fit": fit_rows.whole_fit,
        "resnet18": run_rows.latency(resnet18, 9),
        "wide_resnet50": run_rows.latency(wide, 4.5),
        "pipeline": run_rows.pipeline(resnet18),
        "mahalanobis": run_rows.beside_mahalanobis(resnet18),
        "frame_4k": partial(frame_rows.large_frame, subject=resnet18),
        "deviation": run_rows.deviation(resnet18),
        "import": run_rows.imported,
        "auroc": fit_rows.auroc,
        "memory": partial(fit_rows.memory, weights=weights),
    }


def machine() -> str:
    """What the figures come from."""
    cpu = str(ov.Core().get_property("CPU", "FULL_DEVICE_NAME"))
    tools = ", ".join(f"{name} {version(name)}" for name in ("torch", "openvino"))
    return f"{cpu}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, {tools}"


def line(row: Row) -> str:
    """A row as Markdown."""
    cells = (
        row.what,
        row.ours,
        row.peer,
        f"**{row.result}**",
        row.reach,
        "yes" if row.reached else "**no**",
        row.limit,
        row.check,
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", nargs="+", choices=list(rows(None)), help="run these rows only")
    parser.add_argument("--shared", type=Path, help="folder with ResNet-18's weights; random ones without it")
    parser.add_argument("--peer-python", type=Path, help=f"a Python with anomalib {VERSION}; installed if not given")
    parser.add_argument("--scratch", type=Path, default=Path("demo/bench"), help="folder for pools and models")
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    peer = Peer(options.peer_python)
    head = HEAD.format(machine=machine(), peer=VERSION, limits=limits().describe())
    print(head, end="", flush=True)
    # Rows of another machine do not stand beside these.
    kept = options.scratch / f"rows_{hashlib.sha256(machine().encode()).hexdigest()[:12]}.json"
    lines: dict[str, str] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    for name, row in rows(options.shared).items():
        if not options.row or name in options.row:
            lines[name] = line(row(peer, options.scratch.resolve()))
            print(lines[name], flush=True)
            kept.write_text(json.dumps(lines, indent=1), encoding="utf-8")
    if set(lines) == set(rows(None)):
        ordered = [lines[name] for name in rows(None)]
        PAGE.write_text(head + "\n".join(ordered) + "\n" + FOOT, encoding="utf-8")


if __name__ == "__main__":
    main()
