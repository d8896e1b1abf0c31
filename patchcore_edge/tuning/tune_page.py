"""``tune.html`` and ``tune.json``: what was tried, what was chosen and why, and how to choose another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from patchcore_edge_runtime.images.preprocess import Image

from ..data.evenly_spaced import evenly_chosen
from ..reporting.page import jpeg, write_page, write_text
from .choice import Cost, Judged
from .look import Pictures
from .options import TuneOptions, train_command
from .outcome import Outcome
from .recipe import Recipe

__all__ = ["TUNE_JSON", "TUNE_PAGE", "write_outcome"]

TUNE_PAGE, TUNE_JSON = "tune.html", "tune.json"
_ROWS = 24
_PICTURES = 12
_MARK = (0, 140, 255)
"""BGR of a defect's outline."""


def write_outcome(folder: Path, outcome: Outcome, pictures: Pictures, data: str, options: TuneOptions) -> None:
    """Write both into a RUN folder.

    Raises:
        ConfigError: a file cannot be written.
    """
    from .tune_plot import frontier_plot

    rows = [_row(one, outcome, options, data) for one in _shown(outcome)]
    document = {
        "chosen": _facts(outcome.chosen, outcome),
        "default": _facts(outcome.default, outcome),
        "why": outcome.why,
        "precision": options.precision,
        "device": options.device,
        "good_images": len(pictures.good),
        "synthetic_defects": len(pictures.defects),
        "labelled_images": len(pictures.real),
        "recipes": [_facts(one, outcome) for one in sorted(outcome.judged, key=lambda one: -one.evidence.value)],
    }
    write_text(folder / TUNE_JSON, json.dumps(document, indent=1) + "\n")
    write_page(
        folder / TUNE_PAGE,
        "tune.html.j2",
        title=f"{folder.resolve().name}: the recipe for the part",
        outcome=outcome,
        rows=rows,
        precision=options.precision,
        device=options.device,
        good=len(pictures.good),
        labelled=sum(item.is_defective for item in pictures.real),
        defects=len(pictures.defects),
        plot=frontier_plot(outcome, options.precision),
        pictures=[
            (f"{defect.kind}, strength {defect.strength:.0%}", jpeg(_outlined(defect.image, defect.mask)))
            for defect in evenly_chosen(list(pictures.defects.defects), _PICTURES)
        ],
    )


def _shown(outcome: Outcome) -> list[Judged]:
    """Those that were timed, then the best of the others, one of each layout."""
    timed = [one for one, _ in outcome.measured]
    best: dict[Any, Judged] = {}
    for one in sorted(outcome.judged, key=lambda one: -one.evidence.value):
        best.setdefault((one.recipe.layout, one.recipe.score), one)
    rest = [one for one in best.values() if one not in timed][: max(0, _ROWS - len(timed))]
    return sorted(timed + rest, key=lambda one: -one.evidence.value)


def _costs(one: Judged, outcome: Outcome) -> dict[str, Cost]:
    return next((costs for measured, costs in outcome.measured if measured is one), {})


def _facts(one: Judged, outcome: Outcome) -> dict[str, Any]:
    costs = {name: vars(cost) for name, cost in _costs(one, outcome).items()}
    return {
        "recipe": one.recipe.model_dump(mode="json"),
        "value": one.evidence.value,
        "error": one.evidence.error,
        "image_auroc": one.auroc,
        "located": one.located,
        "gain": one.evidence.value - outcome.default.evidence.value,
        "gain_error": one.evidence.difference_error(outcome.default.evidence),
        "costs": costs,
    }


def _row(one: Judged, outcome: Outcome, options: TuneOptions, data: str) -> dict[str, Any]:
    costs = _costs(one, outcome)
    return {
        **_facts(one, outcome),
        **_words(one.recipe),
        "mark": "chosen" if one is outcome.chosen else "default" if one is outcome.default else "",
        "milliseconds": {name: f"{cost.milliseconds:.1f}" for name, cost in costs.items()},
        "megabytes": f"{costs[options.precision].megabytes:.1f}" if costs else "",
        "command": train_command(options.train, one.recipe, Path(data)),
    }


def _words(recipe: Recipe) -> dict[str, str]:
    layout = recipe.layout
    height, width = layout.view.image_size
    pca = layout.pca
    whitened = f", a {pca.whitening:g}" if pca is not None and pca.whitening else ""
    centred = f", less {layout.centering:g} of the mean" if layout.centering else ""
    return {
        "backbone": layout.view.backbone,
        "layers": " + ".join(layout.layers),
        "pixels": f"{width}x{height}, /{layout.view.patch_stride}",
        "space": (f"PCA {pca.dimensions:g}{whitened}" if pca else "–") + centred,
        "score": str(recipe.score),
        "bank": f"{recipe.bank_size:,}",
    }


def _outlined(image: Image, mask: np.ndarray) -> Image:
    """A defect with a thin line around it, a little away from it."""
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8))
    outline, _ = cv2.findContours(grown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(image.copy(), outline, -1, _MARK, 1), np.uint8)
