"""The monocrystalline solar cells of the package ``elpv-dataset`` in the MVTec layout.

Electroluminescence images, 300x300, CC BY-NC-SA 4.0: Buerhop-Lutz et al., "A Benchmark for Visual Identification of
Defective Solar Cells in Electroluminescence Imagery" (EU PVSEC 2018), https://github.com/zae-bayern/elpv-dataset.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import elpv_dataset

TRAIN_IMAGES = 300


def cell_files(kind: str = "mono") -> tuple[list[Path], list[Path]]:
    """Good ``mono`` or ``poly`` cells (defect probability 0) and defective ones (1), in the package's order."""
    root = Path(elpv_dataset.__file__).parent / "data"
    good: list[Path] = []
    defective: list[Path] = []
    for line in (root / "labels.csv").read_text(encoding="utf-8").splitlines():
        name, probability, kind_of_cell = line.split()
        if kind_of_cell == kind and float(probability) in (0.0, 1.0):
            (defective if float(probability) else good).append(root / name)
    return good, defective


def cells_by_module(kind: str = "mono") -> tuple[list[Path], list[Path], list[Path]]:
    """Good cells to fit on, later good ones, later defective ones: modules that the fit has seen little or nothing of.

    The package lists its cells module by module, without saying where one ends. The first 300 good ones are fitted on;
    later is what it lists from the next good one on. The module at the cut may have cells on either side.
    """
    good, defective = cell_files(kind)
    first_later = good[TRAIN_IMAGES].name  # cell1310.png: names count through the list
    return good[:TRAIN_IMAGES], good[TRAIN_IMAGES:], [path for path in defective if path.name > first_later]


def write_cells(target: Path, seed: int = 0) -> None:
    """Write train/good, validation/good, test/good and test/defective; no cell is in two of them.

    300 good cells of all modules to train on, the other good ones shared equally between calibration and test.
    """
    good, defective = cell_files()
    random.Random(seed).shuffle(good)
    held_out = good[TRAIN_IMAGES:]
    half = len(held_out) // 2
    splits = {
        "train/good": good[:TRAIN_IMAGES],
        "validation/good": held_out[:half],
        "test/good": held_out[half:],
        "test/defective": defective,
    }
    _write(target, splits)


def write_cells_by_module(target: Path) -> None:
    """Write train/good, test/good and test/defective: fitted on the first modules, tested on later ones."""
    train, good, defective = cells_by_module()
    _write(target, {"train/good": train, "test/good": good, "test/defective": defective})


def _write(target: Path, splits: dict[str, list[Path]]) -> None:
    shutil.rmtree(target, ignore_errors=True)
    for split, files in splits.items():
        (target / split).mkdir(parents=True)
        for file in files:
            shutil.copy(file, target / split / file.name)
