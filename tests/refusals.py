"""Commands that must fail, and what they say."""

from __future__ import annotations

import re
from pathlib import Path

from conftest import TINY_BACKBONE, run_cli

RUNTIME = "patchcore_edge_runtime"


def refused(code: int, words: tuple[object, ...], program: str = "patchcore_edge") -> str:
    """Run a command that must fail and return its one sentence."""
    done = run_cli(*words, program=program)
    assert done.returncode == code, (done.stdout, done.stderr)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert re.fullmatch(r"error: \S.*[.)]", line)
    assert "Traceback" not in done.stderr
    return line


def train_words(data: Path, run: Path, weights: Path) -> tuple[object, ...]:
    options = ("--backbone", TINY_BACKBONE, "--layers", "layer2,layer3", "--weights", weights, "--image-size", 64)
    return ("train", data, "-o", run, *options)


def nothing_but(folder: Path, *names: str) -> bool:
    return {path.name for path in folder.iterdir()} == set(names)
