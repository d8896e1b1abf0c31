"""Writes ``docs/accuracy.md``: python -m benchmarks.accuracy --shared DIR --peer-python PYTHON [--tuned] [--time].

What anomalib 2.7.0's two PatchCores and ours detect, from the same pixels, weights and layers, with three seeds. What
has been measured is kept in ``--scratch``, so that a run that was interrupted goes on; the page is written when all of
it is there. ``--time`` measures the page's second table, on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from statistics import mean

from patchcore_edge.data import DataModule
from patchcore_edge.engine import Engine
from patchcore_edge.metrics.evaluator import evaluate
from patchcore_edge.metrics.scores import Scores, collect_scores
from patchcore_edge.models import Patchcore

from .accuracy_time import time_table
from .accuracy_tuned import tuned_model
from .compare import mahalanobis_scores, peer_scores
from .pages import DOCS, write_page
from .peer import VERSION, Peer
from .works import Work, all_works, works_by_module

SEEDS = (0, 1, 2)
PAGE = "accuracy.md"
PATCHCORE = f"anomalib {VERSION}'s `Patchcore`"
MAHALANOBIS = f"anomalib {VERSION}'s `MHPatchcore`"
FULL_BANK = f"{MAHALANOBIS}, in 15 batches"
REFERENCE = "ours, `--score reference`"
DEFAULT = "ours, `--score map-max`"
CENTERED = "ours, `--score map-max --centering 1`"
TUNED = "ours, `tune`"
SIDES = (PATCHCORE, MAHALANOBIS, FULL_BANK, REFERENCE, DEFAULT, CENTERED, TUNED)
PEER_BATCH = 32
"""Training images a batch in anomalib's data modules, unless told otherwise."""
FULL_BANK_BATCHES = 15
"""0b1111: four blocks of 256 vectors remain, of which ``MHPatchcore`` keeps its 1,000."""

HEAD = """# Accuracy, beside anomalib

Written by `python -m benchmarks.accuracy --shared ../shared --peer-python PYTHON` on the CPU, in float32, with exact
search and 9 neighbours. Each cell: the mean over the row's seeds (0, 1 and 2, or those that were measured), and the
least and largest of them. `make accuracy` writes it, and the pages on few images, robustness, training images that are
not clean, the recipes and what `tune` finds.
"""
_COLUMNS = (
    "| model | seeds | bank | image AUROC | recall at 1 % | recall at 5 % | pixel AUROC | AUPRO |\n" + "|---" * 8 + "|"
)

FOOT = f"""
- *Same on all sides*: the pixels (uint8, resized by our preprocessing), the backbone's weights, its layers, the
  normalisation that it was trained with, the test images, and the evaluator that all scores and maps go through.
- *Seed*: ours and `Patchcore`: the coreset's first pick. `MHPatchcore`: the order of the training images, for nothing
  else in it is random. All, on the random splits of ELPV: which 300 good cells are fitted on.
- *{PATCHCORE}* gets our bank of the same seed: its own sampler is the same greedy selection, on a random projection,
  and takes minutes. Both score by eq. 7, so that images rank the same, and the maps differ by their upsampling.
  What a bank of its own changes: [differences](differences.md).
- *{MAHALANOBIS}* fits itself, as it is by default: 99 % of the variance, shrinkage 0.07, up to 1,000 vectors. How many
  it gets depends on the number of training batches alone: its blocks of 256 merge in pairs, so that as many remain as
  that number has ones in binary. Batches of {PEER_BATCH} are its data modules' default; in {FULL_BANK_BATCHES} batches
  (0b1111), measured with seed 0 alone, its bank is full.
- *Recall at 1 %, at 5 %*: share of the defective images above the threshold at which at most 1 % and 5 % of the good
  test images are rejected: a property of the ranking, read off the test images.
- *AUPRO*: up to a false-positive rate of 0.3. ELPV has no masks.
- **ELPV** (`elpv-dataset`) *by module*: fitted on the package's first modules, tested on later ones.
- **Magnetic tile**: Huang, Qiu, Guo, Wang, Yuan, "Saliency of magnetic tile surface defects"; ResNet-18 with
  torchvision's ImageNet weights.
"""


@dataclass(frozen=True)
class Figures:
    """What one model detects on one work with one seed; None where the data cannot say."""

    bank: int
    image_auroc: float | None
    recall_at_1: float | None
    recall_at_5: float | None
    pixel_auroc: float | None
    aupro: float | None


def works_of(seed: int, shared: Path | None) -> list[Work]:
    """All works with a bank of 1 %, those of one name one after the other."""
    named = [
        replace(work, name=f"{work.name}, random split") if work.name.startswith("ELPV") else work
        for work in all_works(shared, seed)
        if work.ratio == 0.01
    ]
    return sorted([*named, *works_by_module()], key=lambda work: work.name.split(",")[0])


def asked_of(seed: int) -> list[str]:
    """The sides that the page needs with a seed: not what ``tune`` finds, and the full bank with the first alone."""
    return [side for side in SIDES if side != TUNED and (side != FULL_BANK or seed == SEEDS[0])]


def measure(work: Work, seed: int, peer: Peer | None, wanted: Collection[str] = SIDES) -> Iterator[tuple[str, Figures]]:
    """The figures of the sides that are wanted; without a peer, of ours.

    What ``tune`` finds is not among them: see ``measure_tuned``.
    """
    model, engine = work.model(), Engine("cpu", progress=False)
    model.seed = seed
    engine.fit(model, work.data)
    dataset = DataModule.dataset(work.data.test, model.pre_processor.spec)
    ours = collect_scores(engine.stream(model, dataset), keep_maps=peer is not None)
    bank = len(model.model.memory_bank)
    yield REFERENCE, figures(ours, bank)
    yield DEFAULT, figures(replace(ours, scores=ours.map_maxima), bank)
    if CENTERED in wanted:
        yield CENTERED, _centered(work, seed)
    if peer is None:
        return
    if PATCHCORE in wanted:
        yield PATCHCORE, figures(peer_scores(peer, model, dataset, ours).scores, bank)
    sizes = {MAHALANOBIS: PEER_BATCH, FULL_BANK: ceil(len(work.data.train) / FULL_BANK_BATCHES)}
    sizes = {side: size for side, size in sizes.items() if side in wanted}
    found = mahalanobis_scores(peer, model, work.data, ours, seed, list(sizes.values())) if sizes else []
    for side, one in zip(sizes, found, strict=True):
        yield side, figures(one.scores, one.bank[0])


def _centered(work: Work, seed: int) -> Figures:
    model, engine = work.model(), Engine("cpu", progress=False)
    model.seed, model.model.centering = seed, 1.0
    engine.fit(model, work.data)
    found = collect_scores(engine.stream(model, DataModule.dataset(work.data.test, model.pre_processor.spec)))
    return figures(replace(found, scores=found.map_maxima), len(model.model.memory_bank))


def measure_tuned(work: Work, seed: int, scratch: Path) -> Figures:
    """What the recipe that ``tune`` finds from the training images detects."""
    model: Patchcore = tuned_model(work, seed, scratch)
    dataset = DataModule.dataset(work.data.test, model.pre_processor.spec)
    return figures(collect_scores(Engine("cpu", progress=False).stream(model, dataset)), len(model.model.memory_bank))


def figures(scores: Scores, bank: int) -> Figures:
    """The metrics of the page."""
    found = evaluate(scores, None)
    return Figures(bank, found.image_auroc, found.recall_at_1, found.recall_at_5, found.pixel_auroc, found.aupro)


def section(work: Work, found: Sequence[dict[str, Figures]], page: str = "") -> str:
    """A work's table.

    Args:
        found: the sides' figures, one dictionary a seed; a row has those of the seeds that it was measured with.
        page: as it was before; rows of sides that were not measured now are taken from there.
    """
    defective = sum(item.is_defective for item in work.data.test)
    counts = (
        f"{len(work.data.train)} images fitted, {len(work.data.test) - defective} good and {defective} defective tested"
    )
    title = f"\n## {work.name}\n\n{work.backbone}, {' and '.join(work.layers)}, {work.size} px; {counts}.\n"
    old = page.partition(f"\n## {work.name}\n")[2].partition("\n## ")[0].splitlines()
    kept = {side: line for line in old for side in SIDES if line.startswith(f"| {side} | ")}
    now = {side: _row(side, [one[side] for one in found if side in one]) for side in SIDES if side in found[0]}
    rows = [{**kept, **now}[side] for side in SIDES if side in {**kept, **now}]
    return "\n".join([title, _COLUMNS, *rows, ""])


def _row(side: str, found: Sequence[Figures]) -> str:
    banks = sorted({one.bank for one in found})
    cells = [side, str(len(found)), "–".join(f"{bank:,}" for bank in dict.fromkeys((banks[0], banks[-1])))]
    cells += [
        spread([getattr(one, name) for one in found], ".1%" if name.startswith("recall") else ".4f")
        for name in ("image_auroc", "recall_at_1", "recall_at_5", "pixel_auroc", "aupro")
    ]
    return f"| {' | '.join(cells)} |"


def spread(values: Sequence[float | None], form: str) -> str:
    """Mean, least and largest, for people; a dash where there is no telling."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "–"
    if len(known) == 1:
        return f"{known[0]:{form}}"
    return f"{mean(known):{form}} ({min(known):{form}}–{max(known):{form}})"


class Kept:
    """What has been measured: a file for each work and seed, with the figures of its sides."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def _file(self, work: Work, seed: int) -> Path:
        return self._folder / f"{work.stem}_{seed}.json"

    def load(self, work: Work, seed: int) -> dict[str, Figures]:
        """By side."""
        file = self._file(work, seed)
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return {side: Figures(**values) for side, values in found.items()}

    def add(self, work: Work, seed: int, side: str, found: Figures) -> None:
        """Put one side's figures with the others."""
        both = {**self.load(work, seed), side: found}
        text = json.dumps({name: asdict(values) for name, values in both.items()}, indent=1)
        self._file(work, seed).write_text(text, encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="folder with data/magnetic_tile and weights/")
    parser.add_argument("--peer-python", type=Path, help=f"a Python that has anomalib {VERSION}")
    parser.add_argument("--tuned", action="store_true", help="with rows of what `tune` finds")
    parser.add_argument("--tuned-only", action="store_true", help="those rows alone; the page keeps its others")
    parser.add_argument("--time", action="store_true", help="measure the times as well; the machine must be idle")
    parser.add_argument("--only", default="", help="part of the name of the works to measure")
    parser.add_argument("--seeds", type=int, nargs="+", choices=SEEDS, default=list(SEEDS), help="those to measure")
    parser.add_argument("--scratch", type=Path, default=Path("demo/accuracy"), help="folder for what is measured")
    options = parser.parse_args()
    kept, peer = Kept(options.scratch), Peer(options.peer_python) if options.peer_python else None
    for seed in options.seeds:
        needed = [] if options.tuned_only else [*(asked_of(seed) if peer else (REFERENCE, DEFAULT, CENTERED))]
        needed += [TUNED] if options.tuned or options.tuned_only else []
        for work in works_of(seed, options.shared):
            if options.only in work.name:
                _fill(kept, work, seed, peer, needed, options.scratch)
    times = options.scratch / "times.md"
    if options.time and peer is not None and options.shared is not None:
        times.write_text(time_table(peer, options.shared, options.scratch.resolve()), encoding="utf-8")
    _write(kept, options.shared, times)


def _fill(kept: Kept, work: Work, seed: int, peer: Peer | None, needed: Sequence[str], scratch: Path) -> None:
    missing = set(needed) - set(kept.load(work, seed))
    if missing - {TUNED}:
        for side, found in measure(work, seed, peer, missing):
            kept.add(work, seed, side, found)
            print(work.name, seed, side, found, flush=True)
    if TUNED in missing:
        kept.add(work, seed, TUNED, measure_tuned(work, seed, scratch.resolve()))


def _write(kept: Kept, shared: Path | None, times: Path) -> None:
    """The page, where every work has its rows of both sides, with the first seed at least, measured now or before."""
    works = works_of(0, shared)
    found = [[kept.load(work, seed) for seed in SEEDS] for work in works]
    before = (DOCS / PAGE).read_text(encoding="utf-8") if (DOCS / PAGE).is_file() else ""
    tables = [section(work, seeds, before) for work, seeds in zip(works, found, strict=True)]
    if shared is None or not all(f"| {side} | " in table for side in asked_of(SEEDS[0]) for table in tables):
        print("Not all of the page has been measured; it stays as it is.")
        return
    write_page(PAGE, [HEAD, *tables, times.read_text(encoding="utf-8") if times.is_file() else "", FOOT])


if __name__ == "__main__":
    main()
