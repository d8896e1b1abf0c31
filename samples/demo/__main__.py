"""Runs the steps one after the other, each a command line that can be copied, and prints what came out.

``--by-module`` fits, calibrates and evaluates once more, on cells of some modules for cells of others: a minute or two.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .cells import write_cells, write_cells_by_module
from .line_video import ROI, choose_parts, render

DEMO = Path("demo")
DATA, RUN, TUNED, BUNDLE = DEMO / "data", DEMO / "run", DEMO / "tuned", DEMO / "bundle"
VIDEO, TRUTH, RESULTS = DEMO / "line.avi", DEMO / "line_truth.jsonl", DEMO / "results.jsonl"
INSPECTED, NG_FRAMES = DEMO / "inspected.mp4", DEMO / "ng"
REPORT, TUNED_REPORT = DEMO / "report.html", DEMO / "report_tuned.html"
LATER_DATA, LATER_RUN, LATER_REPORT = DEMO / "data_by_module", DEMO / "run_by_module", DEMO / "report_by_module.html"

TARGET = ("--target-fpr", 0.01)
MINUTES = 0.5
"""That the search for a recipe may take here; left alone it takes several."""
EXPLAINED = """\
default: the cells to fit, calibrate and test are drawn from all solar modules, so test cells are like fitted ones.
tuned: the same with the recipe that `tune` found in a few seconds, from good cells and synthetic defects alone.
found at 1 % or 5 %: the most defective cells that any threshold finds which rejects no more of the good test cells; it
is read off the test cells, and no threshold to use."""

EXPLAINED_BY_MODULE = """\
by module: fitted on the first modules of the package's list, tested on later ones: what tomorrow may be like."""


def call(seconds: dict[str, float], stage: str, *words: object) -> str:
    """Print and run a command line of this project, as it works from this folder; returns what it printed."""
    line = [str(word) for word in words]
    program = Path(sys.executable).with_name(line[0])
    print(f"\n$ {' '.join([shown(program), *line[1:]])}", flush=True)
    start = time.perf_counter()
    done = subprocess.run([str(program), *line[1:]], stdout=subprocess.PIPE, text=True, check=False)
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
    print(done.stdout, end="", flush=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def shown(program: Path) -> str:
    """The program as a person may type it here: by its name where that leads to it, else by its place."""
    if shutil.which(program.name) == str(program):
        return program.name
    return str(program.relative_to(Path.cwd())) if program.is_relative_to(Path.cwd()) else str(program)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m samples.demo", description=__doc__)
    parser.add_argument("--by-module", action="store_true", help="with cells of modules that the fit has not seen")
    by_module = parser.parse_args().by_module
    seconds: dict[str, float] = {}
    # Both go on with what is there.
    shutil.rmtree(NG_FRAMES, ignore_errors=True)
    RESULTS.unlink(missing_ok=True)
    print(f"Writing solar cells to {DEMO} (elpv-dataset, CC BY-NC-SA 4.0; not part of this repository) …")
    write_cells(DATA)
    if by_module:
        write_cells_by_module(LATER_DATA)
    usual, later = (DATA, RUN, REPORT), (LATER_DATA, LATER_RUN, LATER_REPORT)
    for data, run, report in (usual, later) if by_module else (usual,):
        call(seconds, "train", "patchcore-edge", "train", data, "-o", run)
        call(seconds, "calibrate", "patchcore-edge", "calibrate", run, "--data", data, *TARGET)
        call(seconds, "eval", "patchcore-edge", "eval", run, "--data", data, "--report", report)
    call(seconds, "tune", "patchcore-edge", "tune", DATA, "-o", TUNED, "--time-limit", MINUTES, *TARGET)
    call(seconds, "eval", "patchcore-edge", "eval", TUNED, "--data", DATA, "--report", TUNED_REPORT)
    call(seconds, "export", "patchcore-edge", "export", TUNED, "-o", BUNDLE, "--precision", "fp32")

    print(f"\nRendering {VIDEO}: cells pass a camera that shoots once per part …")
    render(choose_parts(DATA), VIDEO, TRUTH)
    roi = ",".join(str(value) for value in ROI)
    outputs = ("--results", RESULTS, "--save-video", INSPECTED, "--save-ng", NG_FRAMES)
    source = ("-m", BUNDLE, "-s", VIDEO, "-d", "CPU", "--roi", roi)
    summary = call(seconds, "run", "patchcore-edge-runtime", "run", *source, "--no-show", *outputs)
    print_runs(by_module)
    print_line(seconds, summary)
    print("\nLook at:")
    reports = (REPORT, TUNED_REPORT, TUNED / "tune.html", *([LATER_REPORT] if by_module else []))
    for path in (*reports, INSPECTED, NG_FRAMES, RESULTS, BUNDLE / "manifest.json"):
        print(f"  {path}")


def print_runs(by_module: bool) -> None:
    """The figures of the runs side by side, and what each is."""
    runs = {"default": (RUN, REPORT), "tuned": (TUNED, TUNED_REPORT)}
    if by_module:
        runs["by module"] = (LATER_RUN, LATER_REPORT)
    columns = [run_figures(run, report) for run, report in runs.values()]
    rows = {name: [column[name] for column in columns] for name in columns[0]}
    print_table({"": list(runs), **rows})
    print(EXPLAINED)
    if by_module:
        print(EXPLAINED_BY_MODULE)


def run_figures(run: Path, report: Path) -> dict[str, str]:
    """What the runs are compared by."""
    fitted = json.loads((run / "run.json").read_text(encoding="utf-8"))
    facts = json.loads((run / "calibration" / "calibration.json").read_text(encoding="utf-8"))["facts"]
    found = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))
    return {
        "good cells to fit": f"{len(fitted['train_sha256'])}",
        "good cells to calibrate": f"{facts['n']}" + (" (the same)" if facts["method"] == "cross-fitted" else ""),
        "cells to test: good, defective": f"{found['good']}, {found['defective']}",
        "image AUROC": f"{found['image_auroc']:.4f}",
        "threshold in use": f"{found['threshold']:.2f}",
        "  good cells rejected": f"{found['false_reject_rate']:.1%}",
        "  defective cells found": f"{found['recall']:.1%}",
        "found at 1 % rejected": f"{found['recall_at_1']:.1%}",
        "found at 5 % rejected": f"{found['recall_at_5']:.1%}",
    }


def print_line(seconds: dict[str, float], summary: str) -> None:
    """The figures of the bundle and of the line that ran it."""
    run = json.loads((TUNED / "run.json").read_text(encoding="utf-8"))
    parity = json.loads((BUNDLE / "manifest.json").read_text(encoding="utf-8"))["parity"]
    right, parts = judged_right()
    speed = re.search(r"([\d.]+) fps.*latency p50 ([\d.]+) ms, p95 ([\d.]+) ms", summary)
    assert speed is not None
    fps, p50, p95 = map(float, speed.groups())
    print_table(
        {
            "memory bank": [f"{run['bank_size']:,} of {run['patches']:,} patches"],
            "seconds, all runs": [", ".join(f"{stage} {value:.0f}" for stage, value in seconds.items())],
            "largest score deviation, torch against IR": [f"{parity['max_score_deviation']:.1e}"],
            "frames per second, with video and images written": [f"{fps:.0f}"],
            "latency, frame to score and map": [f"p50 {p50:.1f} ms, p95 {p95:.1f} ms"],
            "parts judged right": [f"{right} of {parts}"],
        }
    )


def print_table(rows: dict[str, list[str]]) -> None:
    """Names and values in columns."""
    count = max(len(values) for values in rows.values())
    # What stands alone in its row is no column.
    wide = [max((len(v[place]) for v in rows.values() if len(v) == count), default=0) for place in range(count)]
    width = max(map(len, rows))
    print()
    for name, values in rows.items():
        cells = [f"{value:{wide[place] if len(values) == count else 0}}" for place, value in enumerate(values)]
        print(f"{name:{width}}  {'  '.join(cells)}".rstrip())


def judged_right() -> tuple[int, int]:
    """Parts whose verdict agrees with the truth, and all parts."""
    truth = [json.loads(line)["defective"] for line in TRUTH.read_text(encoding="utf-8").splitlines()]
    found = [json.loads(line)["verdict"] for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    right = sum(verdict == ("NG" if defective else "OK") for defective, verdict in zip(truth, found, strict=True))
    return right, len(truth)


if __name__ == "__main__":
    main()
