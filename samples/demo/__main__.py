"""Runs the steps one after the other, each a command line that can be copied, and prints what came out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .cells import write_cells
from .line_video import ROI, choose_parts, render

DEMO = Path("demo")
DATA, RUN, BUNDLE = DEMO / "data", DEMO / "run", DEMO / "bundle"
VIDEO, TRUTH, RESULTS = DEMO / "line.mp4", DEMO / "line_truth.jsonl", DEMO / "results.jsonl"
INSPECTED, NG_FRAMES, REPORT = DEMO / "inspected.mp4", DEMO / "ng", DEMO / "report.html"


def call(seconds: dict[str, float], stage: str, *words: object) -> str:
    """Print and run a command line of this project; returns what it printed."""
    line = [str(word) for word in words]
    print(f"\n$ {' '.join(line)}", flush=True)
    program = Path(sys.executable).with_name(line[0])
    start = time.perf_counter()
    done = subprocess.run([str(program), *line[1:]], stdout=subprocess.PIPE, text=True, check=False)
    seconds[stage] = time.perf_counter() - start
    print(done.stdout, end="", flush=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def main() -> None:
    seconds: dict[str, float] = {}
    shutil.rmtree(NG_FRAMES, ignore_errors=True)
    print(f"Writing solar cells to {DATA} (elpv-dataset, CC BY-NC-SA 4.0; not part of this repository) …")
    write_cells(DATA)
    backbone = ("--backbone", "tf_efficientnet_lite0", "--image-size", 224)
    call(seconds, "train", "patchcore-edge", "train", DATA, "-o", RUN, *backbone, "--coreset-sampling-ratio", 0.01)
    call(seconds, "calibrate", "patchcore-edge", "calibrate", RUN, "--data", DATA, "--target-fpr", 0.01)
    evaluated = call(seconds, "eval", "patchcore-edge", "eval", RUN, "--data", DATA, "--report", REPORT, "--json")
    call(seconds, "export", "patchcore-edge", "export", RUN, "-o", BUNDLE, "--precision", "fp32")
    verified = call(seconds, "verify", "patchcore-edge", "verify", BUNDLE, "--run", RUN, "-d", "CPU", "--json")

    print(f"\nRendering {VIDEO}: cells pass a camera that shoots once per part (OpenCV remarks on motion JPEG) …")
    render(choose_parts(DATA), VIDEO, TRUTH)
    roi = ",".join(str(value) for value in ROI)
    outputs = ("--results", RESULTS, "--save-video", INSPECTED, "--save-ng", NG_FRAMES)
    source = ("-m", BUNDLE, "-s", VIDEO, "-d", "CPU", "--roi", roi)
    summary = call(seconds, "run", "patchcore-edge-runtime", "run", *source, "--no-show", *outputs, "--json")
    print_table(seconds, json.loads(evaluated), json.loads(verified), json.loads(summary))


def print_table(seconds: dict[str, float], evaluated: dict, verified: dict, summary: dict) -> None:
    """The figures of the README, and where to look."""
    run = json.loads((RUN / "run.json").read_text(encoding="utf-8"))
    found = json.loads((RUN / "calibration" / "calibration.json").read_text(encoding="utf-8"))["facts"]
    right, parts = judged_right()
    rows = {
        "images": f"{len(run['train_sha256'])} train, {found['n']} calibration, {evaluated['images']} test",
        "memory bank": f"{run['bank_size']:,} of {run['patches']:,} patches",
        "seconds": ", ".join(f"{stage} {value:.0f}" for stage, value in seconds.items()),
        "image AUROC": f"{evaluated['image_auroc']:.4f}",
        "threshold": f"{evaluated['threshold']:.2f}, rejects {evaluated['false_reject_rate']:.2%} of good test cells",
        "largest score deviation, torch against IR": f"{verified['max_score_deviation']:.1e}",
        "frames per second, with video and images written": f"{summary['fps']:.0f}",
        "latency, frame to score and map": ", ".join(
            f"{p} {summary[f'latency_ms_{p}']:.1f} ms" for p in ("p50", "p95")
        ),
        "parts judged right": f"{right} of {parts}",
    }
    width = max(len(name) for name in rows)
    print("\n" + "\n".join(f"{name:{width}}  {value}" for name, value in rows.items()))
    print("\nLook at:")
    for path in (REPORT, INSPECTED, NG_FRAMES, RESULTS, BUNDLE / "manifest.json"):
        print(f"  {path}")


def judged_right() -> tuple[int, int]:
    """Parts whose verdict agrees with the truth, and all parts."""
    truth = [json.loads(line)["defective"] for line in TRUTH.read_text(encoding="utf-8").splitlines()]
    found = [json.loads(line)["verdict"] for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    right = sum(verdict == ("NG" if defective else "OK") for defective, verdict in zip(truth, found, strict=True))
    return right, len(truth)


if __name__ == "__main__":
    main()
