"""Writes the table of ``docs/performance.md``: python -m benchmarks.gains [--shared DIR]

Takes one gain back at a time, or adds one after the other, and times what is left on the same work in one run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import openvino
import torch

import patchcore_edge.engine as engine_module
from patchcore_edge.data import DataModule
from patchcore_edge.engine import Engine
from patchcore_edge.fit import embedder
from patchcore_edge.fit.embedder import Embedder
from patchcore_edge.guest_logging import unchanged_logging
from patchcore_edge.models import KCenterGreedy, Patchcore, k_center_greedy
from patchcore_edge.models.weights import DEFAULT_BACKBONE, DEFAULT_LAYERS
from patchcore_edge_export.graph import coarse_space as coarse
from patchcore_edge_export.graph.fast_search import FastPlan

from .bench import RESNET18_WEIGHTS, machine
from .fit_profile import import_profile, pool_profile
from .material import cell_pool, cells
from .pages import write_page
from .row import Times, alternating, repeated
from .scaling import held_out_plan
from .subject import Alone, Subject, batches, compiled

FRAMES, ROUNDS, REPEATS = 24, 3, 5
FIT_IMAGES = 300

HEAD = """# Performance: what was expected of each gain, and what came

The tables are written by `python -m benchmarks.gains --shared ../shared`, in one run on {machine}.
Each row keeps the gains above it. How the whole compares with anomalib: [benchmarks](benchmarks.md); INT8:
[quantization](quantization.md); cameras and sinks: [loop](loop.md); growth: [scaling](scaling.md).
"""


@dataclass(frozen=True)
class Gain:
    """One step: what it is, what it was expected to bring, and how long the work takes with it."""

    name: str
    expected: str
    times: Times


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="folder with ResNet-18's weights; random ones without it")
    parser.add_argument("--scratch", type=Path, default=Path("demo/bench"), help="folder for banks and pools")
    given = parser.parse_args()
    given.scratch.mkdir(parents=True, exist_ok=True)
    scratch = given.scratch.resolve()
    weights = None if given.shared is None else given.shared / RESNET18_WEIGHTS
    parts = [HEAD.format(machine=machine())]
    sections: tuple[Callable[[], str], ...] = (
        lambda: searches(weights, scratch),
        lambda: coresets(scratch),
        starts,
        import_profile,
        lambda: extractions(weights),
    )
    for section in sections:
        parts.append(section())
        print(parts[-1], flush=True)
    write_page("performance.md", parts)


def searches(weights: Path | None, scratch: Path) -> str:
    """From a frame to score and map, with one more idea in the search in each row."""
    subject = Subject("resnet18", weights, images=150)
    fitted = subject.model(scratch)
    plan = held_out_plan(subject, fitted)
    whole = replace(plan, shortlist=0, candidates=0)
    listed = replace(plan, candidates=0)
    floats: dict[str, Any] = {"rounded": lambda points, step: points}
    variants: dict[str, tuple[str, FastPlan | None, dict[str, Any]]] = {
        "exact, one fully connected layer and a minimum": ("4 to 6 times the backbone", None, {}),
        f"estimates in {plan.dimensions} dimensions, exact for {plan.patches} patches": (
            f"{fitted.model.memory_bank.shape[1] / plan.dimensions:.0f} times fewer products",
            whole,
            {"_CHUNK": 1 << 30, **floats},
        ),
        "… the bank in pieces, whose distances stay in the cache": ("half", whole, floats),
        "… estimates in 8 bits": ("a quarter of the products' time", whole, {}),
        f"… groups first, the whole bank for a shortlist of {plan.shortlist}": (
            "a fifth of the estimates' time",
            listed,
            {},
        ),
        f"… exact distances to {plan.candidates} candidates": ("half of the exact part's time", plan, {}),
    }
    with TemporaryDirectory() as folder:
        graphs: dict[str, Callable[[Any], Any]] = {}
        for name, (_, used, patches) in variants.items():
            with patch.multiple(coarse, **patches) if patches else _nothing():
                graphs[name] = compiled(Path(folder) / f"{len(graphs)}", fitted, used).infer
        graphs["backbone"] = Alone(Path(folder) / "0")
        times = alternating(graphs, batches(subject.timed()[:FRAMES]), ROUNDS)
    base = times.pop("backbone")
    gains = [Gain(name, variants[name][0], found) for name, found in times.items()]
    title = f"Search: {subject.name}; the backbone alone takes {base.spread()}"
    return _table(title, gains, lambda gain: f"{gain.times.median / base.median:.2f}", "÷ backbone")


_WITHOUT_COLLECTION = """
from patchcore_edge.gc_paused import gc_paused
with gc_paused():
    import patchcore_edge.jobs.evaluate
"""


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def coresets(scratch: Path) -> str:
    """Greedy selection, from a pass over the pool for each pick to few passes by oneDNN."""
    pool = torch.from_numpy(np.load(cell_pool(scratch)))

    def select(repeats: int, **patches: Any) -> Times:
        with patch.multiple(k_center_greedy, **patches) if patches else _nothing():
            return repeated(lambda seed: KCenterGreedy(pool, 0.01, seed).select_coreset_idxs(), repeats)

    select(1)
    gains = [
        Gain("a pass over the pool for each pick", "–", select(1, _CANDIDATES=1, _ROWS_PER_CANDIDATE=1 << 30)),
        Gain("many picks a pass, products by MKL", "20 times less", select(REPEATS, _ONEDNN=None)),
        Gain("… by oneDNN", "half (2 to 2.5 times MKL's speed here)", select(REPEATS)),
        Gain("… four times as many candidates", "fewer passes, more work for each", select(REPEATS, _CANDIDATES=4096)),
    ]
    title = f"Coreset: {pool.shape[0]:,} x {pool.shape[1]} → 1 %"
    table = _table(
        title, gains, lambda gain: f"{gains[0].times.median / gain.times.median:.0f}x", "against the first row"
    )
    return table + pool_profile(pool, 0.01, gains[2].times)


def starts() -> str:
    """What a fit does before it meets an image: importing, and handing the backbone to OpenVINO."""

    def imports(program: str) -> Times:
        return repeated(lambda _: subprocess.run([sys.executable, "-c", program], check=True), REPEATS)

    model = Patchcore(DEFAULT_BACKBONE, DEFAULT_LAYERS).eval()
    example = torch.zeros(1, *model.pre_processor.spec.input_size, 3, dtype=torch.uint8)

    def whole_converter(_: int) -> None:
        with unchanged_logging(), torch.inference_mode():
            openvino.convert_model(torch.jit.trace(embedder.embedding(model), example, check_trace=False))  # type: ignore[no-untyped-call]

    def frontend_alone(_: int) -> None:
        with unchanged_logging(), torch.inference_mode():
            embedder.converted(embedder.embedding(model), example)

    frontend_alone(0)
    gains = [
        Gain("Python's start, imports, end", "–", imports("import patchcore_edge.jobs.evaluate")),
        Gain("… without looking for garbage among what is imported", "a tenth less", imports(_WITHOUT_COLLECTION)),
        Gain("the backbone traced and converted", "–", repeated(whole_converter, REPEATS)),
        Gain("… by the converter's frontend alone", "half", repeated(frontend_alone, REPEATS)),
    ]
    bases = [gains[0], gains[0], gains[2], gains[2]]
    ratios = {gain.name: base.times.median / gain.times.median for gain, base in zip(gains, bases, strict=True)}
    title = "A fit's start: what it takes before the first image"
    return _table(title, gains, lambda gain: f"{ratios[gain.name]:.1f}x", "times faster")


def extractions(weights: Path | None) -> str:
    """Features of image files."""
    works: list[tuple[str, tuple[str, ...], int, Path | None]] = [(DEFAULT_BACKBONE, DEFAULT_LAYERS, 224, None)]
    if weights is not None:
        works.append(("resnet18", ("layer2", "layer3"), 256, weights))
    return "\n".join(_extraction(*work) for work in works)


def _extraction(backbone: str, layers: tuple[str, ...], size: int, weights: Path | None) -> str:
    model = Patchcore(
        backbone, layers, pre_processor=Patchcore.configure_pre_processor((size, size)), weights=weights
    ).eval()
    data = DataModule(Path("cells"), cells(FIT_IMAGES, size).items)

    def extract(repeats: int, **patches: Any) -> Times:
        with patch.multiple(engine_module, **patches) if patches else _nothing():
            return repeated(lambda _: _features(model, data), repeats)

    in_turn: dict[str, Any] = {"prefetch": lambda items: items}
    extract(1)
    gains = [
        Gain("torch, decoding in turn", "–", extract(1, Embedder=_torch_only, **in_turn)),
        Gain("OpenVINO, decoding in turn", "3 to 8 times less", extract(REPEATS, **in_turn)),
        Gain("… decoding ahead in a thread", "the time of decoding less", extract(REPEATS)),
    ]
    title = f"Features: {FIT_IMAGES} solar cells (PNG files), {backbone} at {size} px, compiling the backbone included"
    return _table(title, gains, lambda gain: f"{1e3 * gain.times.median / FIT_IMAGES:.1f} ms", "an image")


def _torch_only(model: Patchcore, images: int, **_: object) -> Embedder:
    return Embedder(model, 0)


def _features(model: Patchcore, data: DataModule) -> None:
    with Engine("cpu", progress=False).features(model, data.dataset(data.train, model.pre_processor.spec)):
        pass


def _table(title: str, gains: Sequence[Gain], share: Callable[[Gain], str], what: str) -> str:
    lines = [f"\n## {title}\n", f"| gain | expected | time | {what} |", "|---|---|---|---|"]
    lines += [f"| {gain.name} | {gain.expected} | {gain.times.spread()} | {share(gain)} |" for gain in gains]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
