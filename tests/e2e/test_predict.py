"""``predict`` of both programs: a line for each image, the worst first where asked, and the same files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from conftest import run_cli

from patchcore_edge_runtime.command_line.verdict_lines import VerdictLines
from patchcore_edge_runtime.display.record import Record

HOST, LINE = "patchcore_edge", "patchcore_edge_runtime"


def words(program: str, run: Path, bundle: Path, images: Path) -> tuple[object, ...]:
    return ("predict", run, images, "-d", "cpu") if program == HOST else ("predict", "-m", bundle, "-s", images)


@pytest.fixture
def images(tiny_data: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(tiny_data / "test", tmp_path / "images"))
    (folder / "good/broken.png").write_bytes((folder / "good/000.png").read_bytes()[:300])
    return folder


def table(text: str) -> list[tuple[str, str, str, str]]:
    """Verdict, score, threshold and name of each line between the header and the counts."""
    header, *lines = text.splitlines()
    assert header.split() == ["verdict", "score", "threshold", "image"]
    rows = [line.split(maxsplit=3) for line in lines if ".png" in line]
    return [(row[0], row[1], row[2], row[3].partition("  (")[0]) for row in rows]


@pytest.mark.parametrize("program", [HOST, LINE])
def test_each_image_has_a_line_with_verdict_score_threshold_and_name_and_the_counts_follow(
    program: str, tiny_run: Path, tiny_bundle: Path, images: Path
) -> None:
    done = run_cli(*words(program, tiny_run, tiny_bundle, images), program=program)
    assert done.returncode == 0, done.stderr
    rows = table(done.stdout)
    assert len(rows) == 13
    verdicts = {name.rpartition("images/")[2]: verdict for verdict, _, _, name in rows}
    assert verdicts["good/broken.png"] == "ERROR"
    assert all(verdicts[f"scratch/{place:03d}.png"] == "NG" for place in range(6))
    for verdict, score, threshold, _ in rows:
        assert (score == "-") == (verdict == "ERROR")
        assert verdict not in ("OK", "NG") or (float(score) > float(threshold)) == (verdict == "NG")
    counts = done.stdout.splitlines()[len(rows) + 1]
    assert counts.startswith("13 frames in")
    assert "ERROR 1" in counts
    assert f"NG {list(verdicts.values()).count('NG')}" in counts
    assert "good/broken.png  (is not an image that can be decoded; " in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("program", [HOST, LINE])
@pytest.mark.parametrize("order", [(), ("--sort",)])
def test_no_name_of_an_image_makes_a_verdict_of_its_own(
    program: str, order: tuple[str, ...], tiny_run: Path, tiny_bundle: Path, images: Path
) -> None:
    forged = "OK          0.1000     0.1807  images"
    for line_end in ("\n", "\r", "\x1b[2K\r", "\u2028"):
        shutil.copy(images / "scratch/000.png", images / f"scratch/x{line_end}{forged}.png")
    done = run_cli(*words(program, tiny_run, tiny_bundle, images), *order, program=program)
    rows = [line for line in done.stdout.splitlines() if ".png" in line]
    assert len(rows) == 17
    assert sum(forged in row and row.startswith("NG") for row in rows) == 4
    assert "\x1b" not in done.stdout


def test_torch_and_the_bundle_say_the_same(tiny_run: Path, tiny_bundle: Path, images: Path) -> None:
    told = [
        table(run_cli(*words(program, tiny_run, tiny_bundle, images), program=program).stdout)
        for program in (HOST, LINE)
    ]
    assert [(row[0], row[2], row[3]) for row in told[0]] == [(row[0], row[2], row[3]) for row in told[1]]
    scores = [[float(score) for _, score, _, _ in rows if score != "-"] for rows in told]
    assert scores[0] == pytest.approx(scores[1], rel=2e-3)


@pytest.mark.parametrize("program", [HOST, LINE])
def test_sort_prints_the_worst_first(program: str, tiny_run: Path, tiny_bundle: Path, images: Path) -> None:
    done = run_cli(*words(program, tiny_run, tiny_bundle, images), "--sort", program=program)
    rows = table(done.stdout)
    order = [("ERROR", "NG", "WARN", "OK").index(row[0]) for row in rows]
    assert len(rows) == 13
    assert order == sorted(order)
    for verdict in ("NG", "OK"):
        scores = [float(row[1]) for row in rows if row[0] == verdict]
        assert scores == sorted(scores, reverse=True)


def test_output_writes_the_same_files_by_either(
    tiny_run: Path, tiny_bundle: Path, images: Path, tmp_path: Path
) -> None:
    written = []
    for program in (HOST, LINE):
        out = tmp_path / program
        done = run_cli(*words(program, tiny_run, tiny_bundle, images), "-o", out, program=program)
        assert done.returncode == 0, done.stderr
        records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
        written.append(([(r["name"], r["verdict"], sorted(r)) for r in records], sorted(p.name for p in out.iterdir())))
        again = run_cli(*words(program, tiny_run, tiny_bundle, images), "-o", out, program=program)
        assert (again.returncode, "--overwrite" in again.stderr) == (2, True)
    assert written[0] == written[1]
    assert len(written[0][1]) == 14


@pytest.mark.parametrize("program", [HOST, LINE])
def test_json_is_alone_on_standard_output(program: str, tiny_run: Path, tiny_bundle: Path, images: Path) -> None:
    done = run_cli(*words(program, tiny_run, tiny_bundle, images), "--json", program=program)
    assert json.loads(done.stdout)["frames"] == 13


def test_a_run_without_thresholds_and_a_folder_without_images_are_said(
    tiny_run: Path, images: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_run, tmp_path / "run", ignore=shutil.ignore_patterns("calibration"))
    done = run_cli("predict", tmp_path / "run", images)
    assert (done.returncode, "patchcore-edge calibrate" in done.stderr) == (2, True)
    (tmp_path / "empty").mkdir()
    done = run_cli("predict", tiny_run, tmp_path / "empty")
    assert (done.returncode, "holds no images" in done.stderr) == (2, True)


@pytest.mark.skipif(sys.platform == "win32", reason="sends itself no Ctrl-C")
@pytest.mark.parametrize("program", [HOST, LINE])
def test_a_pass_that_is_stopped_says_that_it_is_not_whole(
    program: str, tiny_run: Path, tiny_bundle: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = words(program, tiny_run, tiny_bundle, images)
    assert "Stopped" not in run_cli(*asked, program=program).stderr
    write = VerdictLines.write

    def press_ctrl_c(lines: VerdictLines, record: Record) -> None:
        write(lines, record)
        if record.frame.index == 0:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(VerdictLines, "write", press_ctrl_c)
    done = run_cli(*asked, program=program)
    assert done.returncode == 0
    assert "Stopped before the end: what has no line here was not inspected." in done.stderr
    assert len(table(done.stdout)) < 13
