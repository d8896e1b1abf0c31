"""How small a bank may be: accuracy against the share of the patches that it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from patchcore_edge.data import DataModule
from patchcore_edge.data.evenly_spaced import evenly_chosen
from patchcore_edge.engine import Engine
from patchcore_edge.metrics.evaluator import Evaluation, evaluate
from patchcore_edge.metrics.scores import collect_scores

from .works import Work, all_works

__all__ = ["accuracies"]

SHARES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
_TESTED = 400
_NOTE = f"""Random split, up to {_TESTED} of the test images, evenly chosen: [accuracy](accuracy.md) tests all of them.
Each bank is the beginning of the largest one, where that page chooses each for its own size.
"""


def accuracies(weights: Path | None, _: Path) -> str:
    """Image AUROC of banks that are the beginnings of one selection, for that is how greedy selection goes."""
    chosen = [work for work in all_works(None if weights is None else weights.parents[1]) if work.ratio < max(SHARES)]
    lines = [
        "| data, backbone, pixels | share of the patches | bank | image AUROC | pixel AUROC |",
        "|---|---|---|---|---|",
    ]
    for work in chosen:
        for share, bank, found in _smaller_and_smaller(replace(work, ratio=max(SHARES))):
            pixels = "–" if found.pixel_auroc is None else f"{found.pixel_auroc:.4f}"
            name = f"{work.name}, {work.backbone}, {work.size}"
            lines.append(f"| {name} | {share:.2%} | {bank:,} | {found.image_auroc:.4f} | {pixels} |")
    return f"\n## How small a bank may be\n\n{_NOTE}\n" + "\n".join(lines) + "\n"


def _smaller_and_smaller(work: Work) -> Iterator[tuple[float, int, Evaluation]]:
    model, engine = work.model(), Engine("cpu", progress=False)
    engine.fit(model, work.data)
    whole, patches = model.model.memory_bank, model.pool_size
    dataset = DataModule.dataset(evenly_chosen(work.data.test, _TESTED), model.pre_processor.spec)
    for share in reversed(SHARES):
        model.model.memory_bank = whole[: round(share * patches)]
        yield share, len(model.model.memory_bank), evaluate(collect_scores(engine.stream(model, dataset)), None)
