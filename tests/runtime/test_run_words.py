"""What ``run`` says at once, and while it works."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import cv2
import pytest
from conftest import good_part, run_cli
from terminals import run_on_terminal

RUNTIME = "patchcore_edge_runtime"


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(5):
        cv2.imwrite(str(folder / f"{number}.png"), good_part(number))
    return folder


def test_run_says_at_once_what_judges_what_where_results_go_and_how_it_ends(
    tiny_bundle: Path, parts: Path, tmp_path: Path
) -> None:
    words = ("run", "-m", tiny_bundle, "-s", parts, "--results", tmp_path / "r.jsonl", "--roi", "0,0,80,80")
    done = run_cli(*words, program=RUNTIME)
    assert done.returncode == 0, done.stderr
    what, where, how = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")][:3]
    assert re.fullmatch(
        rf"discs@\w+ on CPU in f32 inspects {re.escape(str(parts))}, in the region 0,0,80,80: NG .*\.", what
    )
    assert where == f"Results go to results ({tmp_path / 'r.jsonl'})."
    assert how == "It ends after the last picture; before that, Ctrl-C ends it after the frame in hand."
    assert done.stdout.startswith("5 frames in"), "what it amounted to, and nothing else"


def test_results_that_go_nowhere_are_said_to_and_quiet_says_nothing(tiny_bundle: Path, parts: Path) -> None:
    words = ("run", "-m", tiny_bundle, "-s", parts)
    assert "Results go nowhere but into the counts" in run_cli(*words, program=RUNTIME).stderr
    quiet = run_cli(*words, "-q", program=RUNTIME)
    assert (quiet.returncode, quiet.stderr) == (0, "")


def test_a_line_that_goes_on_says_so_in_its_log_once(tiny_bundle: Path, parts: Path, tmp_path: Path) -> None:
    toml = tmp_path / "line.toml"
    source = '[source]\nuri = "parts/*.png"\n[sinks.modbus]\nhost = "127.0.0.1"\nport = 1\n'
    toml.write_text(f"name = 'left'\nbundle = '{tiny_bundle.as_posix()}'\n[thresholds]\nwarn = 0.001\n{source}")
    done = run_cli("run", "-c", toml, program=RUNTIME)
    said = [line for line in done.stderr.splitlines() if "inspects" in line]
    assert len(said) == 1
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z INFO command_line.run discs@", said[0])
    assert "WARN above 0.001." in said[0]
    assert "Results go to modbus (127.0.0.1:1)." in said[0]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
def test_on_a_terminal_the_last_line_says_how_far_it_is_and_goes_at_the_end(tiny_bundle: Path, parts: Path) -> None:
    done = run_on_terminal("run", "-m", tiny_bundle, "-s", parts, program=RUNTIME, columns=160)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d inspected  OK \d  WARN 0  NG \d  ERROR \d  [\d.]+ fps", done.stderr)
    assert done.stderr.rstrip().endswith("\x1b[2K"), "the line is wiped"
    assert "inspected" not in done.stdout
