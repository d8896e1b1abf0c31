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
    good, defective = [], []
    for line in (root / "labels.csv").read_text(encoding="utf-8").splitlines():
        name, probability, kind_of_cell = line.split()
        if kind_of_cell == kind and float(probability) in (0.0, 1.0):
            (defective if float(probability) else good).append(root / name)
    return good, defective


def write_cells(target: Path, seed: int = 0) -> None:
    """Write train/good, validation/good, test/good and test/defective; no cell is in two of them.

    300 good cells to train on, the other good ones shared equally between calibration and test.
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
    shutil.rmtree(target, ignore_errors=True)
    for split, files in splits.items():
        (target / split).mkdir(parents=True)
        for file in files:
            shutil.copy(file, target / split / file.name)
