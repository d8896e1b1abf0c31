"""What an export says while it works, and of what it refuses."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from terminals import run_on_terminal

from patchcore_edge_export.gate.limits import UNBOUNDED, failures_of
from patchcore_edge_runtime.bundle.manifest import ParityReport


def test_what_is_refused_is_said_in_three_digits_of_what_a_verdict_is_made_by() -> None:
    found = ParityReport(
        device="CPU",
        images=195,
        max_score_deviation=0.312345,
        score_limit=0.25,
        max_map_deviation=UNBOUNDED,
        verdict_flips=7,
        flip_limit=2,
        synthetic_auroc_torch=0.91234,
        synthetic_auroc_graph=0.89345,
        auroc_drop_limit=0.00512,
        recall_torch=0.85,
        recall_graph=0.7123,
        recall_drop_limit=0.0312,
        passed=False,
    )
    assert list(failures_of(found)) == [
        "a score is off by 31.2 % of the threshold (limit 25 %)",
        "a heatmap is no number",
        "7 of 195 images get another verdict (limit 2)",
        "good parts and synthetic defects are told apart less well: image AUROC falls from 0.912 to 0.893, by 0.0189 "
        "(limit 0.00512)",
        "of the synthetic defects 85 % are found at 1 % false rejects in torch and 71.2 % by the graph "
        "(limit 3.12 % fewer)",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
def test_int8_says_on_a_terminal_which_step_it_is_at_and_nothing_else_draws_bars(
    tiny_run: Path, tmp_path: Path
) -> None:
    words = ("export", tiny_run, "-o", tmp_path / "bundle", "--precision", "int8")
    done = run_on_terminal(*words, program="patchcore_edge", columns=120)
    assert done.returncode == 0, done.stderr
    steps = [step for step in ("8 bits, 1 of 3", "8 bits, 2 of 3", "8 bits, 3 of 3", "gate") if step in done.stderr]
    assert len(steps) == 4, done.stderr
    assert "Statistics collection" not in done.stderr + done.stdout
    assert re.search(r"scores are off by [\d.]+ % of the threshold \(limit 25 %\)", done.stdout)
