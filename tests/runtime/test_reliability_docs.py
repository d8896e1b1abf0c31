"""docs/reliability.md names tests that are there."""

from __future__ import annotations

import re

from conftest import REPOSITORY


def test_every_fault_names_tests_that_exist() -> None:
    page = (REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8")
    _, _, faults = page.partition("## Faults one by one")
    rows = [line.rsplit("|", 2)[1] for line in faults.splitlines() if line.startswith("| ") and "`test_" in line]
    named = {name for row in rows for name in re.findall(r"`(test_\w+)`", row)}
    tests = {
        name
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    assert len(named) > 20
    assert not named - tests
