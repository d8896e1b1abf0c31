"""The lists of versions: what is tested is allowed, and nothing that is allowed has a hole that we know of."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from conftest import REPOSITORY

packaging = pytest.importorskip("packaging.version", reason="needs the package packaging")

RUNTIME = REPOSITORY / "runtime"
WRITER = runpy.run_path(str(RUNTIME / "write_constraints.py"))
# First versions without a hole that we know of.
SOUND = {"opencv-python": "4.12.0.88", "h11": "0.16", "starlette": "0.49.1"}


def pins(file: Path) -> dict[str, str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_the_lowest_versions_are_those_of_the_bounds() -> None:
    committed = (RUNTIME / "constraints-lowest.txt").read_text(encoding="utf-8")
    assert committed == WRITER["lowest"](), "run: make constraints"


def test_the_tested_versions_are_allowed_and_complete() -> None:
    tested = pins(RUNTIME / "constraints.txt")
    for requirement in WRITER["direct"]():
        assert requirement.specifier.contains(tested[requirement.name]), requirement
    assert {"pydantic-core", "click", "anyio"} <= tested.keys(), "what the requirements require is in it too"


@pytest.mark.parametrize("name", SOUND)
def test_no_version_with_a_known_hole_is_allowed(name: str) -> None:
    assert packaging.Version(pins(RUNTIME / "constraints-lowest.txt")[name]) >= packaging.Version(SOUND[name])
