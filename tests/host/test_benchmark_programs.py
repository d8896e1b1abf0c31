"""The benchmarks and the samples still start: nobody runs most of them for months."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("elpv_dataset", reason="the benchmarks need the package elpv-dataset: pip install '.[demo]'")

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = ("samples.serving.kserve_server", "samples.serving.mlserver_server")
"""In environments of their own; tests/e2e/test_model_servers.py runs them."""
CALLED = ("benchmarks.peer_tasks", "benchmarks.score_ir")
"""By another benchmark, with words that nobody types."""


def _name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


FILES = {_name(file): file for folder in ("benchmarks", "samples") for file in sorted((ROOT / folder).rglob("*.py"))}
HERE = [name for name in FILES if name not in ELSEWHERE]
PROGRAMS = [name for name in HERE if ".parse_args()" in FILES[name].read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_says_what_it_takes(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        # The smallest samples read their words where they begin.
        import_module(name).main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


@pytest.mark.parametrize("name", [name for name in HERE if name not in PROGRAMS])
def test_what_programs_share_is_imported_and_is_no_program_itself(name: str) -> None:
    import_module(name)
    assert ('__name__ == "__main__"' in FILES[name].read_text(encoding="utf-8")) == (name in CALLED)
