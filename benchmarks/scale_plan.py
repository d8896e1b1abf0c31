"""What a shared fit costs, up to ten million images and 64 processes: a model, checked against runs of 1 to 4.

python -m benchmarks.scale_plan --check     the runs, the model's constants, and how far it is off
python -m benchmarks.scaling --parts plan   the same, the plan and its plot in docs/scaling.md

A fit has four parts: features, selection, pictures of one part (copies), outliers. For each the model has the work of
one process: operations, bytes read from disk, bytes exchanged. What the operations take is measured with one process;
how they are divided, and what is exchanged, follows from the algorithm and is what the runs check. Memory and disk are
those of ``patchcore_edge.fit.memory_plan``, which a fit says beforehand.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from patchcore_edge.fit.memory_plan import FitPlan

from .scale_fit import make_images
from .scale_run import Parts

PARTS = ("features", "selection", "copies", "outliers")
ITEM = 2
"""Bytes of a number on disk."""
_COMPARED, _QUERIES, _SPACE, _SUMMARY, _CENTERS = 48, 64, 64, 1024, 1024
"""Of ``patchcore_edge.fit``: images that one is compared with, its patches and dimensions there; numbers of a summary;
picks that outliers are measured by."""
_EXCHANGES = 6
"""Of one round of the selection: distances, their places and counts, candidates, picks."""
CHECKED_RANKS, CHECKED_IMAGES, CHECKED_BANK = (1, 2, 3, 4), (200, 600), 2_000
HERE_DISK, HERE_NETWORK = 5e9, 2e9
"""Bytes a second of what was written just now and lies in memory, and between processes of one machine."""
FAR_DISK, FAR_NETWORK = 1e9, 1.25e9
"""Assumed for the plan: a solid-state disk for each process, and ten gigabits a second."""
PLANNED_BANK = 20_000
IMAGES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
RANKS = (1, 4, 16, 64)
GIB = 2**30


@dataclass(frozen=True)
class Machine:
    """What one process has, and what is between processes.

    Attributes:
        image_seconds: to decode and embed an image.
        products: operations a second in the products of the selection and of outliers.
        compared_seconds: to compare an image with another, once that is read.
        ranked_seconds: for each image that another is ranked against.
        picks_per_candidate: picks of a round as a share of its candidates.
        disk: bytes a second, read or written.
        network: bytes a second that a process sends and receives at once.
        latency: seconds of an exchange of nothing.
    """

    image_seconds: float
    products: float
    compared_seconds: float
    ranked_seconds: float
    picks_per_candidate: float
    disk: float = 1e9
    network: float = 1.25e9
    latency: float = 100e-6


@dataclass(frozen=True)
class Fit:
    """What is to be fitted: ResNet-18's layers 2 and 3 at 256 pixels unless said otherwise."""

    images: int
    ranks: int
    bank: int
    patches: int = 1024
    dimensions: int = 384

    @property
    def own(self) -> int:
        """Images of one process."""
        return -(-self.images // self.ranks)

    @property
    def row_bytes(self) -> int:
        """Of the features of one image on disk."""
        return self.patches * self.dimensions * ITEM

    @property
    def candidates(self) -> int:
        """K of the selection."""
        return int(min(max(1024, self.images * self.patches // 256), 4096, self.images * self.patches))

    def rounds(self, machine: Machine) -> int:
        """Passes over the pool, the first pick's included."""
        return 1 + -(-self.bank // max(1, round(machine.picks_per_candidate * self.candidates)))

    def exchanged(self, machine: Machine) -> dict[str, float]:
        """Bytes that one process gives to exchanges, by part; nothing where it is alone."""
        if self.ranks == 1:
            return dict.fromkeys(PARTS, 0.0)
        row = 4 * self.dimensions
        per_round = self.candidates * (12 + row)
        return {
            "features": 8.0 * self.own,
            "selection": self.rounds(machine) * per_round,
            # Summaries, and for each image its queries and what is asked about them, by all processes.
            "copies": self.own * (4 * _SUMMARY + 4 * _QUERIES * _SPACE + _COMPARED * (16 + 8 * self.ranks))
            + min(self.images, 256) * _QUERIES * row,
            "outliers": min(self.bank, _CENTERS) * row + 8.0 * self.own,
        }

    def bytes_per_pick(self, machine: Machine) -> float:
        """That a process gives to exchanges for one vector of the bank."""
        return self.exchanged(machine)["selection"] / self.bank

    def seconds(self, machine: Machine) -> dict[str, float]:
        """By part; reading, computing and exchanging are not done at once, but for writing beside embedding."""
        own, numbers = self.own, self.patches * self.dimensions
        shard, rounds = own * self.row_bytes, self.rounds(machine)
        between = self.candidates**2 * self.dimensions * 2 * rounds
        wire = {part: self._wire(given, machine) for part, given in self.exchanged(machine).items()}
        latency = 0.0 if self.ranks == 1 else machine.latency * np.log2(self.ranks)
        compared = own * _COMPARED
        return {
            "features": max(own * machine.image_seconds, shard / machine.disk),
            "selection": (own * numbers * 2 * self.bank + between) / machine.products
            + rounds * (shard / machine.disk + _EXCHANGES * latency)
            + wire["selection"],
            "copies": compared * (machine.compared_seconds + self.row_bytes / machine.disk)
            + own * self.images * machine.ranked_seconds
            + wire["copies"],
            "outliers": own * numbers * 2 * min(self.bank, _CENTERS) / machine.products
            + shard / machine.disk
            + wire["outliers"],
        }

    def _wire(self, given: float, machine: Machine) -> float:
        """Seconds that so many bytes take: summed up around a ring each goes out twice."""
        return 2 * (self.ranks - 1) / self.ranks * given / machine.network

    @property
    def plan(self) -> FitPlan:
        """Memory and disk, as a fit says them."""
        return FitPlan(self.images, self.patches, self.dimensions, self.bank, ranks=self.ranks)


def runs(folder: Path, images: Sequence[int], ranks: Sequence[int], bank: int, weights: Path | None) -> list[Parts]:
    """Fits by so many processes with a core each, or a share of one, one after the other."""
    found = []
    with TemporaryDirectory() as scratch:
        for count in images:
            for size in ranks:
                file = Path(scratch) / "found.json"
                words = ["--standalone", "--nproc-per-node", str(size), "-m", "benchmarks.scale_run"]
                words += [str(folder), "-o", str(file), "--images", str(count), "--bank", str(bank)]
                words += [] if weights is None else ["--weights", str(weights)]
                alone = {**os.environ, "OMP_NUM_THREADS": "1"}
                subprocess.run([sys.executable, "-m", "torch.distributed.run", *words], check=True, env=alone)
                found.append(Parts(**json.loads(file.read_text(encoding="utf-8"))))
    return found


def measured(alone: Parts, disk: float, network: float) -> Machine:
    """The constants of this machine, from a run by one process.

    Args:
        alone: that run.
        disk: bytes a second; what was written just now is read from memory.
        network: bytes a second between processes.
    """
    seconds, numbers = alone.seconds, alone.patches * alone.dimensions
    done = alone.images * numbers * 2 * alone.bank + alone.candidates**2 * alone.dimensions * 2 * alone.rounds
    return Machine(
        image_seconds=seconds["features"] / alone.images,
        products=done / seconds["selection"],
        compared_seconds=seconds["copies"] / alone.images / _COMPARED,
        ranked_seconds=2 * _SUMMARY / (done / seconds["selection"]) + 1e-8,
        picks_per_candidate=alone.bank / max(1, alone.rounds - 1) / alone.candidates,
        disk=disk,
        network=network,
    )


def shared_cores(machine: Machine, ranks: int, cores: int) -> Machine:
    """What each of more processes than cores has."""
    share = max(1.0, ranks / cores)
    return replace(
        machine,
        image_seconds=machine.image_seconds * share,
        products=machine.products / share,
        compared_seconds=machine.compared_seconds * share,
        ranked_seconds=machine.ranked_seconds * share,
    )


def check_rows(found: Sequence[Parts], machine: Machine) -> list[str]:
    """A table of the runs beside the model."""
    rows = [
        "| processes | images | part | seconds | model | MB exchanged | model |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in found:
        fit = Fit(one.images, one.ranks, one.bank, one.patches, one.dimensions)
        here = shared_cores(machine, one.ranks, one.cores)
        said, given = fit.seconds(here), fit.exchanged(here)
        for part in PARTS:
            cells = (one.seconds[part], said[part], one.exchanged[part] / 1e6, given[part] / 1e6)
            rows.append(f"| {one.ranks} | {one.images:,} | {part} | " + " | ".join(f"{v:.3g}" for v in cells) + " |")
    return rows


def plan_rows(machine: Machine, bank: int) -> list[str]:
    """The plan for many images and processes, with what takes longest."""
    head = ["images", "processes", "hours", *PARTS, "longest", "memory each", "disk each", "bytes a pick"]
    rows = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for images in IMAGES:
        for ranks in RANKS:
            fit = Fit(images, ranks, bank)
            seconds = fit.seconds(machine)
            memory, disk = fit.plan.memory_bytes(in_memory=False) / GIB, fit.plan.store_bytes(ITEM) / GIB
            cells = [f"{images:,}", str(ranks), _hours(sum(seconds.values()))]
            cells += [f"{seconds[part] / sum(seconds.values()):.0%}" for part in PARTS]
            cells += [max(PARTS, key=lambda part: seconds[part]), f"{memory:.3g} GiB", f"{disk:,.3g} GiB"]
            cells.append(f"{fit.bytes_per_pick(machine):,.0f}")
            rows.append(f"| {' | '.join(cells)} |")
    return rows


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.3g} h" if seconds >= 3600 else f"{seconds / 60:.2g} min"


def limits(machine: Machine, bank: int) -> list[str]:
    """Where another part becomes the limit, and what disk and network have of the whole, a sentence each."""
    counts = [int(n) for n in np.unique(np.geomspace(1_000, 10_000_000, 200).astype(np.int64))]
    said = []
    for ranks in RANKS:
        longest = [max(PARTS, key=lambda part: Fit(n, ranks, bank).seconds(machine)[part]) for n in counts]
        changes = [place for place in range(1, len(counts)) if longest[place] != longest[place - 1]]
        named = [longest[0], *(f"{longest[i]} from about {_round(counts[i]):,} images on" for i in changes)]
        most = Fit(max(IMAGES), ranks, bank)
        whole = sum(most.seconds(machine).values())
        without = {
            "disk": replace(machine, disk=np.inf),
            "network": replace(machine, network=np.inf, latency=0.0),
        }
        shares = [f"the {name} {1 - sum(most.seconds(other).values()) / whole:.1%}" for name, other in without.items()]
        several = "processes" if ranks > 1 else "process"
        said.append(
            f"- {ranks} {several}: what takes longest is {', then '.join(named)}. At {max(IMAGES):,} images "
            f"{' and '.join(shares)} of the time."
        )
    return said


def _round(number: int) -> int:
    unit = int(10 ** (len(str(number)) - 2))
    return round(number / unit) * unit


def main() -> None:
    """Run, and print the check, and the plan that follows from it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only the check")
    parser.add_argument("--images", type=int, nargs="+", default=list(CHECKED_IMAGES), help="of the runs")
    parser.add_argument("--bank", type=int, default=CHECKED_BANK, help="of the runs")
    parser.add_argument("--weights", type=Path, default=None, help="of ResNet-18; random ones without")
    given = parser.parse_args()
    found, machine = checked(given.images, given.bank, given.weights)
    lines = check_rows(found, machine)
    if not given.check:
        far = replace(machine, disk=FAR_DISK, network=FAR_NETWORK)
        lines += ["", *plan_rows(far, PLANNED_BANK), "", *limits(far, PLANNED_BANK)]
    print("\n".join(lines))


def checked(images: Sequence[int], bank: int, weights: Path | None) -> tuple[list[Parts], Machine]:
    """Runs by 1 to 4 processes, and this machine's constants from the first of them."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        make_images(None, folder, max(images))
        found = runs(folder, images, CHECKED_RANKS, bank, weights)
    return found, measured(found[0], HERE_DISK, HERE_NETWORK)


if __name__ == "__main__":
    main()
