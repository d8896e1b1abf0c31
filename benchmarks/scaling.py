"""Writes ``docs/scaling.md`` and its plots: python -m benchmarks.scaling [--shared DIR]

How cost grows: a fit's time and memory with its images, latency with the bank and with the image's size, and what a fit
in several processes costs. Growth laws are slopes of straight lines through the logarithms of the three largest.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from patchcore_edge.models import Patchcore
from patchcore_edge_export.gate.parity import LIMITS
from patchcore_edge_export.graph.fast_search import FastPlan
from patchcore_edge_export.planning.plan import plan_search
from patchcore_edge_runtime.verdict import Thresholds

from . import scale_plan
from .bank_sizes import accuracies
from .bench import RESNET18_WEIGHTS, machine
from .pages import DOCS
from .row import alternating
from .scale_fit import GIB, MEMORY_LIMIT, fit_many
from .scale_plan import Fit
from .subject import BANK, Alone, Subject, batches, compiled

IMAGES = (100, 300, 1_000, 3_000, 10_000)
FITTED_BANK = 2_000
BANKS = (1_024, 4_096, 16_384, 65_536, 131_072)
SIZES = (224, 320, 448, 640)
FRAMES, ROUNDS = 12, 2
_LEVEL = 1.15
"""Times by which the largest may exceed the smallest of what does not grow."""

_SECTION = "\n## "
HEAD = """# How cost grows

Written by `python -m benchmarks.scaling --shared ../shared`, each part in one run, on {machine}.
ResNet-18, layers 2 and 3, unless said otherwise. *Grows as*: the power that fits the three largest.
"""


@dataclass(frozen=True)
class Curve:
    """One line of a plot."""

    name: str
    values: Sequence[float]


def main() -> None:
    """Measure, plot, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="folder with ResNet-18's weights; random ones without it")
    parser.add_argument("--scratch", type=Path, default=Path("demo/bench"), help="folder for banks and images")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="renew these parts only")
    given = parser.parse_args()
    given.scratch.mkdir(parents=True, exist_ok=True)
    weights = None if given.shared is None else given.shared / RESNET18_WEIGHTS
    page = DOCS / "scaling.md"
    sections = page.read_text(encoding="utf-8").split(_SECTION)[1:] if page.is_file() else []
    sections += [""] * (len(PARTS) - len(sections))
    for name in given.parts:
        sections[list(PARTS).index(name)] = PARTS[name](weights, given.scratch.resolve()).removeprefix(_SECTION)
        print(_SECTION, sections[list(PARTS).index(name)], sep="", flush=True)
    page.write_text(_SECTION.join([HEAD.format(machine=machine()), *filter(None, sections)]), encoding="utf-8")


def fits(weights: Path | None, scratch: Path) -> str:
    """Time and peak memory of ``train``."""
    found = [fit_many(count, None, weights, FITTED_BANK, MEMORY_LIMIT, scratch) for count in IMAGES]
    seconds, peaks = [one.seconds for one in found], [one.peak_bytes / GIB for one in found]
    return _part(
        f"A fit's images (256 px, bank of {FITTED_BANK:,}; `train --memory-limit {MEMORY_LIMIT}`)",
        "scaling_fit.png",
        ("images", IMAGES),
        {"seconds": [Curve("time", seconds)], "GiB": [Curve("peak memory", peaks)]},
        f"Memory is that of the features until they pass {MEMORY_LIMIT}. Beyond they wait on disk, and what stays in "
        "memory is torch, OpenVINO, a backbone, two numbers for each patch and about 5 KB for each image.",
    )


def banks(weights: Path | None, scratch: Path) -> str:
    """Latency of exact and of fast search; the fast plan is that for its first 16,384."""
    largest = Subject("resnet18", weights, images=150, bank=max(BANKS))
    fitted = largest.model(scratch)
    bank = fitted.model.memory_bank
    # Eq. 7 asks for the neighbours of one vector; tabling them all takes minutes here and no time of a frame.
    fitted.model.num_neighbors = 1
    fitted.model.memory_bank = bank[:BANK].clone()
    plan = held_out_plan(largest, fitted)
    rows = []
    for size in BANKS:
        fitted.model.memory_bank = bank[:size].clone()
        rows.append(_latencies(fitted, plan, batches(largest.timed()[:FRAMES])))
    return _part(
        f"The bank (256 px; fast search: {plan.dimensions} dimensions, {plan.patches} patches exact)",
        "scaling_bank.png",
        ("bank", BANKS),
        {"ms a frame": [Curve(name, [row[name] for row in rows]) for name in rows[0]]},
    )


def sizes(weights: Path | None, scratch: Path) -> str:
    """Latency with the side of the image; one bank serves all, for time does not ask what is in it."""
    subject = Subject("resnet18", weights, images=150)
    fitted = subject.model(scratch)
    plan = held_out_plan(subject, fitted)
    rows = []
    for size in SIZES:
        there = replace(subject, size=size)
        model = Patchcore(
            subject.backbone,
            fitted.model.layers,
            pre_trained=False,
            pre_processor=Patchcore.configure_pre_processor((size, size)),
            post_processor=False,
            weights=weights,
        ).eval()
        model.model.memory_bank = fitted.model.memory_bank
        share = plan.shortlist / (256 // 8) ** 2
        longer = replace(plan, shortlist=int(share * (size // 8) ** 2), offsets=None)
        rows.append(_latencies(model, longer, batches(there.timed()[:FRAMES])))
    return _part(
        f"The image's side (bank {subject.bank:,}; patches grow as its square)",
        "scaling_size.png",
        ("pixels", SIZES),
        {"ms a frame": [Curve(name, [row[name] for row in rows]) for name in rows[0]]},
    )


def held_out_plan(subject: Subject, fitted: Patchcore) -> FastPlan:
    """What the export's planner chooses for a model on good cells that its bank has not seen."""
    held = subject.held_out()
    with torch.inference_mode():
        limit = max(float(fitted(torch.from_numpy(image)[None]).anomaly_map.max()) for image in held[:8])
    return plan_search(fitted, held, Thresholds(image=limit, pixel=limit), LIMITS["fp32"].fast_map).plan


def _latencies(fitted: Patchcore, plan: FastPlan, frames: Sequence[Any]) -> dict[str, float]:
    """Median milliseconds of exact and fast search and of the backbone alone."""
    with TemporaryDirectory() as scratch:
        graphs: dict[str, Callable[[Any], Any]] = {}
        for name, used in (("exact", None), ("fast", plan)):
            graphs[name] = compiled(Path(scratch) / name, fitted, used).infer
        graphs["backbone alone"] = Alone(Path(scratch) / "exact")
        return {name: times.median * 1e3 for name, times in alternating(graphs, frames, ROUNDS).items()}


def plan(weights: Path | None, scratch: Path) -> str:
    """A fit in several processes: a model checked against runs, and what it says of many images."""
    bank = scale_plan.PLANNED_BANK
    found, here = scale_plan.checked(scale_plan.CHECKED_IMAGES, scale_plan.CHECKED_BANK, weights)
    far = replace(here, disk=scale_plan.FAR_DISK, network=scale_plan.FAR_NETWORK)
    title, picture = "A fit in several processes", "scaling_plan.png"
    hours, memory = [], []
    for ranks in scale_plan.RANKS:
        name, fits = f"{ranks} process{'es' * (ranks > 1)}", [Fit(n, ranks, bank) for n in scale_plan.IMAGES]
        hours.append(Curve(name, [sum(fit.seconds(far).values()) / 3600 for fit in fits]))
        memory.append(Curve(name, [fit.plan.memory_bytes(in_memory=False) / GIB for fit in fits]))
    _plot(DOCS / "images" / picture, ("images", scale_plan.IMAGES), {"hours": hours, "GiB a process": memory})
    lines = [
        f"![{title}](images/{picture})",
        "",
        "Modelled, not measured: [several](several.md) processes, each with what one has here with one core, a "
        f"disk of {far.disk / 1e9:g} GB/s and a network of {far.network * 8 / 1e9:g} Gbit/s; a bank of {bank:,}, "
        "features in half precision on disk. *Bytes a pick*: what a process gives to exchanges for each bank vector.",
        "",
        *scale_plan.plan_rows(far, bank),
        "",
        *scale_plan.limits(far, bank),
        "",
        f"The model beside runs on {found[0].cores} cores, one for each process, and a bank of "
        f"{scale_plan.CHECKED_BANK:,} (`python -m benchmarks.scale_plan --check`). Its constants are from the first "
        "run; more processes than cores share them.",
        "",
        *scale_plan.check_rows(found, here),
    ]
    return f"\n## {title}\n\n" + "\n".join(lines) + "\n"


def _part(
    title: str, picture: str, axis: tuple[str, Sequence[int]], panels: Mapping[str, Sequence[Curve]], note: str = ""
) -> str:
    """A heading, the plot, the table that it was drawn from, and what is to be said of it."""
    _plot(DOCS / "images" / picture, axis, panels)
    curves = [(unit, curve) for unit, members in panels.items() for curve in members]
    name, places = axis
    head = [name, *(f"{curve.name} ({unit})" for unit, curve in curves)]
    lines = [[f"{place:,}", *(f"{curve.values[i]:.3g}" for _, curve in curves)] for i, place in enumerate(places)]
    lines.append([f"*twice the {name}*", *(_growth(name, places[-3:], curve.values[-3:]) for _, curve in curves)])
    rows = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)]
    said = f"\n{note}\n" if note else ""
    return f"\n## {title}\n\n![{title}](images/{picture})\n\n" + "\n".join(rows) + "\n" + said


def _growth(name: str, places: Sequence[int], values: Sequence[float]) -> str:
    """The law of what grows, in words where nothing does."""
    if max(values) < _LEVEL * min(values):
        return "does not grow"
    if list(values) != sorted(values):
        return "no rule: see below"
    return f"{2 ** np.polyfit(np.log(places), np.log(values), 1)[0]:.2g} times as much"


def _plot(file: Path, axis: tuple[str, Sequence[int]], panels: Mapping[str, Sequence[Curve]]) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator

    figure = Figure(figsize=(4.6 * len(panels) + 0.6, 3.4), layout="constrained")
    plain = FuncFormatter(lambda value, _: f"{value:,g}")
    for place, (unit, curves) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), place + 1)
        for curve in curves:
            axes.loglog(axis[1], curve.values, marker="o", label=curve.name)
        axes.set_xticks(axis[1], [f"{value:,}" for value in axis[1]])
        values = [value for curve in curves for value in curve.values]
        if max(values) < 5 * min(values):
            axes.set_yscale("linear")
            axes.set_ylim(bottom=0)
        else:
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(plain)
        axes.set(xlabel=axis[0], ylabel=unit)
        axes.grid(True, alpha=0.25)
        axes.legend()
    figure.savefig(file, dpi=110)


PARTS: dict[str, Callable[[Path | None, Path], str]] = {
    "fits": fits,
    "banks": banks,
    "sizes": sizes,
    "accuracies": accuracies,
    "plan": plan,
}

if __name__ == "__main__":
    main()
