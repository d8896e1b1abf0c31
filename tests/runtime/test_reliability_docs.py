"""docs/reliability.md names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_fault_names_a_test_that_exists() -> None:
    _, _, faults = (
        (REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8").partition("## Faults one by one")
    )
    named = re.findall(r"^\|.*\| `(\w+)` \|$", faults, flags=re.MULTILINE)
    tests = {
        name
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    assert len(named) > 20
    assert not set(named) - tests
