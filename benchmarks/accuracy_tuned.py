"""The recipe that ``patchcore-edge tune`` finds for a work, from its training images alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from shutil import rmtree

from patchcore_edge.models import Patchcore
from patchcore_edge.runs.checkpoint import load_run
from patchcore_edge.tuning.tune_page import TUNE_JSON

from .works import Work

__all__ = ["tuned", "tuned_model"]


def tuned_model(work: Work, seed: int, scratch: Path) -> Patchcore:
    """The fitted model of the RUN that ``tune`` wrote."""
    return load_run(tuned(work, seed, scratch))[0]


def tuned(work: Work, seed: int, scratch: Path, sides: tuple[int, ...] = ()) -> Path:
    """Let the command line tune on the training images; the RUN folder it wrote, in ``scratch``, or had written before.

    Args:
        work: whose test images it does not see.
        seed: of the search.
        scratch: where runs are kept.
        sides: of the sizes to try; those that ``tune`` tries when empty.
    """
    place = scratch / "tuned" / "_".join([work.stem, *map(str, (seed, *sides))])
    run = place / "run"
    if (run / TUNE_JSON).exists():
        return run
    rmtree(place, ignore_errors=True)
    sizes = ["--sizes", ",".join(map(str, sides))] if sides else []
    data = _training_images(work, place / "data")
    command = [sys.executable, "-m", "patchcore_edge", "tune", data, "-o", run, *_options(work, seed), *sizes]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"`tune` failed on {work.name}:\n{done.stderr[-2000:]}")
    return run


def _options(work: Work, seed: int) -> list[str]:
    given = ["--backbones", work.backbone, "--seed", str(seed), "--device", "cpu"]
    return given if work.weights is None else [*given, "--weights", str(work.weights)]


def _training_images(work: Work, folder: Path) -> Path:
    """A folder of links to them, in their order; no test image is in it."""
    folder.mkdir(parents=True)
    for place, item in enumerate(work.data.train):
        (folder / f"{place:04d}_{item.path.name}").symlink_to(item.path.resolve())
    return folder
