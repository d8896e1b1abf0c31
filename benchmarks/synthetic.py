"""Writes ``docs/synthetic-defects.md``: python -m benchmarks.synthetic [--shared DIR] [--pictures].

How well a fitted model finds synthetic defects, beside real ones on the same parts: were all of the synthetic ones
found, or none, they could not tell a good search plan, threshold or quantization from a poor one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from patchcore_edge.data.evenly_spaced import evenly_chosen
from patchcore_edge.data.synthetic_defects import KINDS, SyntheticDefect, make_defects
from patchcore_edge.models import Patchcore

from .held_out import fit
from .pages import DOCS, write_page
from .synthetic_pictures import write_pictures
from .works import Work, all_works

RATES = (0.01, 0.05)
SOURCES, PER_IMAGE, TESTS = 105, 3, 300
HEAD = """# Synthetic defects

Good parts are plenty and defects are not. `patchcore_edge.data.synthetic_defects` makes defects on pictures of good
parts, as unlike each other as defects are; no recipe was tuned to a data set.

![Seven kinds of defects on solar cells, discs on a belt and a fabric](images/synthetic_defects.jpg)

From left to right weak, middling and strong on solar cells, then on discs and on a fabric that a program drew; each
picture shows 96 pixels of 224. The corners around a defect show where its mask ends. Nobody picked them: of the first
defects of a kind those nearest to a strength of 0.1, 0.5 and 0.9.
The cells are of [elpv-dataset](https://github.com/zae-bayern/elpv-dataset) (Buerhop-Lutz et al., EU PVSEC 2018), CC
BY-NC-SA 4.0, and so is this picture.

| kind | what it is |
|---|---|
| `torn` | a tear that gapes, its two sides displaced and slipped along each other; or a wrinkle, bent and shaded |
| `foreign` | texture of another part's picture, stripes, a weave or clouds, blended in (DRAEM, Zavrtanik et al. 2021) |
| `scratch` | a thin line, bright or dark, bent or jagged; several side by side; a groove with a lit edge |
| `spots` | a spot, a cluster of dots, a dried drop with its rim, a dent with a lit and a dark side |
| `smear` | texture wiped along one direction, under a streaky film |
| `missing` | a chip broken off, half of them at the part's outline: background shows, or a flat ground without one |
| `cut_paste` | a piece of the same picture turned and put elsewhere (CutPaste, Li et al. 2021) |

Weak foreign and pasted texture takes the brightness of its new place, as Poisson blending makes it (NSA, Schlüter et
al. 2022).

- **Strength** goes evenly from 0, barely visible in the picture's own noise and texture, to 1, plain. A change that is
  no more than new noise in the place of the old would be is made stronger, step by step.
- **Size** (the root of the area, as a rule) is uniform in its logarithm, from one cell of the model's patch grid to a
  quarter of the shorter side.
- **Place**: four of five have their centre on the part, where one stands out from the picture's border by colour or
  roughness and has an outline; everywhere in a picture that is all part, a texture or a solar cell.
- A grey picture's defect is grey. The mask has every changed pixel and the pinholes between them.
- **Seeds**: defect *j* of image *i* depends on the seed, *i*, *j* and the images only. Who asks for more gets the same
  first ones. Kinds take turns, so that a set of any size has all of them evenly.

```python
from patchcore_edge.data.synthetic_defects import make_defects

for defect in make_defects(images, per_image=3, seed=0, cell=8):    # images: HxWx3 uint8 BGR at the model's size
    defect.image, defect.mask, defect.kind, defect.strength, defect.source
```

They are used where something has to tell defects from good parts and nobody has defects: by `export`'s gate, by the
planner of fast search, for a golden image, and to show what a threshold would catch. They are never part of a
threshold's promised false-reject rate, which comes from good images alone.

## Measured

Written by `python -m benchmarks.synthetic --shared ../shared`, the picture with `--pictures`. Models as in
[accuracy](accuracy.md), fitted without every fifth training image. *Good* are images that the model has not seen; the
synthetic defects are made on some of them. *Recall at 1 %*: found at the threshold that 1 % of these
good images exceed.
"""
_Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """Image scores of one work; ``scores`` are those of ``defects``."""

    name: str
    good: _Scores
    real: _Scores
    scores: _Scores
    defects: list[SyntheticDefect]

    def auroc(self, defective: _Scores) -> float:
        """Of the good images against ``defective``."""
        labels = np.repeat([0, 1], [len(self.good), len(defective)])
        return float(roc_auc_score(labels, np.concatenate([self.good, defective])))

    def recall(self, defective: _Scores, rate: float) -> float:
        """Share found where ``rate`` of the good images are rejected."""
        return float((defective > np.quantile(self.good, 1 - rate, method="higher")).mean())

    def where(self, keep: Callable[[SyntheticDefect], bool]) -> str:
        """Recall of some synthetic defects at each rate."""
        chosen = self.scores[[keep(defect) for defect in self.defects]]
        return " / ".join(f"{self.recall(chosen, rate):.2f}" for rate in RATES) if len(chosen) else "–"


def measure(work: Work) -> Measured:
    """Fit a work and score good images, real defects and synthetic ones."""
    fitted = fit(work, TESTS)
    good = np.concatenate([fitted.held, fitted.test[~fitted.labels]])
    defects = list(make_defects(evenly_chosen(list(good), SOURCES), PER_IMAGE))
    parts = (good, fitted.test[fitted.labels], [defect.image for defect in defects])
    good_scores, real, synthetic = (_scores(fitted.model, part) for part in parts)
    return Measured(work.name, good_scores, real, synthetic, defects)


def _scores(model: Patchcore, images: Sequence[Any] | NDArray[np.uint8]) -> _Scores:
    with torch.inference_mode():
        return np.array([float(model(torch.from_numpy(image[None])).pred_score) for image in images])


def tables(found: Sequence[Measured]) -> str:
    """What the page shows."""
    whole = [
        "| data | good, real, synthetic | AUROC real | synthetic "
        "| recall at 1 %, real | synthetic | at 5 %, real | synthetic |",
        "|---" * 8 + "|",
        *(_line(one) for one in found),
    ]
    head = ["| recall at 1 % / 5 % | " + " | ".join(one.name for one in found) + " |", "|---" * (len(found) + 1) + "|"]
    kinds = [_row(f"`{kind}`", found, _of_kind(kind)) for kind in KINDS]
    strengths = [_row(f"strength {low:.2f} to {low + 0.25:.2f}", found, _between(low)) for low in (0, 0.25, 0.5, 0.75)]
    sizes = [_row(name, found, _of_size(low, high)) for name, low, high in _SIZES]
    return "\n".join(["", *whole, "", *head, *kinds, *strengths, *sizes, ""])


_SIZES = (("mask below 150 pixels", 0, 150), ("150 to 600", 150, 600), ("above 600", 600, 10**9))


def _line(one: Measured) -> str:
    counts = f"{len(one.good)}, {len(one.real)}, {len(one.scores)}"
    shares = [f"{one.recall(scores, rate):.2f}" for rate in RATES for scores in (one.real, one.scores)]
    ranks = [f"{one.auroc(scores):.3f}" for scores in (one.real, one.scores)]
    return "| " + " | ".join([one.name, counts, *ranks, *shares]) + " |"


def _row(name: str, found: Sequence[Measured], keep: Callable[[SyntheticDefect], bool]) -> str:
    return "| " + " | ".join([name, *(one.where(keep) for one in found)]) + " |"


def _of_kind(kind: str) -> Callable[[SyntheticDefect], bool]:
    return lambda defect: defect.kind == kind


def _between(low: float) -> Callable[[SyntheticDefect], bool]:
    return lambda defect: low <= defect.strength < low + 0.25


def _of_size(low: int, high: int) -> Callable[[SyntheticDefect], bool]:
    return lambda defect: low <= defect.mask.sum() < high


def main() -> None:
    """Measure and write the page; with ``--pictures`` write its picture only."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, help="folder with data/magnetic_tile and weights/")
    parser.add_argument("--pictures", action="store_true", help="write docs/images/synthetic_defects.jpg and stop")
    options = parser.parse_args()
    if options.pictures:
        write_pictures(DOCS / "images" / "synthetic_defects.jpg")
        return
    found = []
    for work in all_works(options.shared):
        if work.ratio == Work.ratio:
            found.append(measure(work))
            print(_line(found[-1]), flush=True)
    print(tables(found))
    write_page("synthetic-defects.md", [HEAD + tables(found)])


if __name__ == "__main__":
    main()
