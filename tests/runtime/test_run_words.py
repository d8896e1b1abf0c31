"""What ``run`` says at once, and while it works."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import cv2
import pytest
from conftest import good_part, run_cli
from terminals import run_on_terminal

from patchcore_edge_runtime.line.config_file import load_line

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


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "-m", "bundle", "-s", ""),
        ("predict", "-m", "bundle", "--source="),
        ("predict", "-m", "bundle", "-s", "parts", "-o", ""),
        ("run", "-m", "", "-s", "parts"),
        ("info", ""),
        ("run", "-m", "bundle", "-s", "watch:"),
        ("run", "-m", "bundle", "-s", "-"),
        ("run", "-m", "bundle", "-s", "parts", "--results", "-"),
    ],
)
def test_a_word_that_is_empty_or_a_dash_is_no_place(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_cli(*words, program=RUNTIME)
    assert done.returncode == 2, done.stderr
    assert re.search(r"is empty; give a value|is no file here; give a path|names nothing; give", done.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="a folder that is in use cannot be removed")
def test_a_folder_that_is_gone_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml, gone = tmp_path / "line.toml", tmp_path / "gone"
    toml.write_text("bundle = 'bundle'\n")
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    done = run_cli("run", "-c", toml, "-s", "parts", program=RUNTIME)
    assert done.returncode == 2
    assert "The folder that this was started in is not there any more; change to one that is there." in done.stderr


def test_a_path_in_a_lines_file_may_begin_at_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    toml = tmp_path / "lines" / "line.toml"
    toml.parent.mkdir()
    toml.write_text("bundle = '~/b'\n[source]\nuri = '~/in'\n[sinks.jsonl]\npath = '~/r.jsonl'\n")
    line = load_line(toml, {}, {"PATCHCORE_EDGE_CACHE_DIR": "~/c"})
    places = [line.bundle_folder, Path(line.source_uri), line.sinks["jsonl"].path, line.cache_dir]
    assert places == [tmp_path / name for name in ("b", "in", "r.jsonl", "c")]
