"""docs/reliability.md promises what tests hold it to."""

from __future__ import annotations

import re

from conftest import REPOSITORY


def test_every_fault_names_tests_that_exist() -> None:
    page = (REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8")
    _, _, faults = page.partition("## Faults one by one")
    rows = [line for line in faults.splitlines() if line.startswith("| ") and not line.startswith("| fault ")]
    named = [re.findall(r"`(test_\w+)`", row.rsplit("|", 2)[1]) for row in rows if not row.startswith("| kind ")]
    tests = {
        name
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    assert len(named) > 60
    assert [row for row, names in zip(rows, named, strict=False) if not names] == []
    assert {name for names in named for name in names} <= tests
